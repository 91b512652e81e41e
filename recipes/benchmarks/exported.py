"""Compare the programs that a model can be exported to: equality with fairseq, and speed.

The first lines of a test set are translated by fairseq with the plugin, and then by each program
that the model can be exported to: stock fairseq, CTranslate2 in 32 and 8 bits, and Hugging Face's
transformers. All of these search with the same beam for the same score. ONNX Runtime, with the
example of docs/export.md, and torch's program take the likeliest word instead, and both are
compared with fairseq doing the same.

The first table counts the lines that are the same as fairseq's. For the other lines it gives the
largest difference between the scores that fairseq gives to both translations, which is close to 0
if they are equally good. (exported_kinds.py does this for every kind of positions.) The second
table has tokens per second, on one thread and on two, one line at a time and in batches. A program
that cannot take the model is listed with the reason.

    python recipes/benchmarks/exported.py CHECKPOINT DATA > recipes/results/exported.md

DATA is the folder of the corpus that data-prep has made. Needs the extra `test`.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import sacrebleu
import torch
from translating import FAIRSEQ, Programs, exported

from fairseq_floater.checkpoints.files import read_checkpoint

HEAD = """\
# Exported models, compared with fairseq

{row}, up to {updates:,} updates, on the first {lines:,}
lines of `{subset}`; beam {beam}, scores divided by length ** {lenpen}; torch {torch},
ctranslate2 {ctranslate2}, transformers {transformers}. Printed by `recipes/benchmarks/exported.py`.
"""


def scores(args: argparse.Namespace, pairs: Dict[str, List[str]]) -> Dict[str, List[float]]:
    """Return fairseq's scores of the translations of each source: length-divided natural logs."""
    from fairseq_floater.checkpoints.loading import load_translation_model

    model = load_translation_model(args.checkpoint).model
    dictionaries = {side: args.dictionaries[side] for side in ("source", "target")}

    def numbered(side: str, text: str) -> torch.Tensor:
        words = dictionaries[side]
        return torch.tensor([*(words.index(word) for word in text.split()), words.eos()])

    found = {}
    for source, translations in pairs.items():
        ids = numbered("source", source)[None]
        of_source = []
        for translation in translations:
            target = numbered("target", translation)
            inputs = target.roll(1)[None]
            with torch.no_grad():
                logits, _ = model(ids, torch.tensor([ids.size(1)]), inputs)
            chosen = logits[0].log_softmax(dim=1).gather(1, target[:, None]).sum()
            of_source.append(float(chosen) / len(target) ** args.lenpen)
        found[source] = of_source
    return found


def joined(args: argparse.Namespace, line: str) -> str:
    """Return a line of subwords as text."""
    if args.corpus["subword"] == "sentencepiece":
        return line.replace(" ", "").replace("\u2581", " ").strip()
    return f"{line} ".replace("@@ ", "").strip()


class Compared(NamedTuple):
    """How one program translates, compared with fairseq.

    Attributes:
        same, of: the number of lines that are the same as fairseq's, and of all lines.
        apart: the largest difference between fairseq's scores of two translations that differ.
        bleu: the score of all lines.
    """

    same: int
    of: int
    apart: float
    bleu: float


def compared(
    args: argparse.Namespace, programs: Programs
) -> Iterator[Tuple[str, Union[Compared, str]]]:
    """Yield each program with its comparison, or with the reason why there is none."""
    references = (args.data / f"bpe/{args.subset}.{args.corpus['target']}").read_text("utf-8")
    texts = [joined(args, line) for line in references.split("\n")[: len(args.sources)]]
    wanted: List[str] = []
    for name, made in programs.items():
        if isinstance(made, str):
            yield name, made
            continue
        found, _ = made(args.sources, args.batch, 1)
        wanted = found if name.startswith(FAIRSEQ) else wanted
        other = {s: [f, w] for s, f, w in zip(args.sources, found, wanted) if f != w}
        apart = max((abs(a - b) for a, b in scores(args, other).values()), default=0.0)
        bleu = sacrebleu.corpus_bleu([joined(args, line) for line in found], [texts]).score
        same = sum(f == w for f, w in zip(found, wanted))
        yield name, Compared(same, len(found), apart, bleu)


def compare(args: argparse.Namespace, programs: Programs) -> None:
    print("| program | lines as fairseq's | largest difference of scores | BLEU |")
    print("|---|---|---|---|")
    for name, it in compared(args, programs):
        if isinstance(it, str):
            print(f"| {name} | {it} | | |")
        else:
            cells = f"{it.same:,} of {it.of:,} | {it.apart:.0e} | {it.bleu:.2f}"
            print(f"| {name} | {cells} |", flush=True)


def speeds(args: argparse.Namespace, programs: Programs) -> None:
    settings = [(batch, threads) for batch in (1, args.batch) for threads in (1, 2)]
    names = " | ".join(f"batch {b}, {t} thread{'s' * (t > 1)}" for b, t in settings)
    print(f"\nTokens per second, of {args.timed:,} lines, without loading:\n")
    print(f"| program | {names} |\n|---|{'---|' * len(settings)}")
    for name, made in programs.items():
        if isinstance(made, str):
            continue
        cells = []
        for batch, threads in settings:
            found, seconds = made(args.sources[: args.timed], batch, threads)
            tokens = sum(len(line.split()) + 1 for line in found)
            cells.append(f"{tokens / seconds:,.0f}" if seconds > 0 else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def parser_of(description: Optional[str]) -> argparse.ArgumentParser:
    """Return a parser with the options for how models translate, and what."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("checkpoint", type=Path, help="checkpoint of a floater_transformer")
    add("data", type=Path, help="folder that data-prep has made")
    add("--subset", default="test", help="default: %(default)s")
    add("--lines", type=int, default=1000, help="lines to compare; default: %(default)s")
    add("--batch", type=int, default=64, help="default: %(default)s")
    add("--beam", type=int, default=4, help="default: %(default)s")
    add("--lenpen", type=float, default=0.6, help="default: %(default)s")
    add("--longest", type=int, default=200, help="most tokens per line; default: %(default)s")
    return parser


def read_corpus(args: argparse.Namespace) -> None:
    """Add the corpus, its dictionaries and its first lines to ``args``."""
    from fairseq.data import Dictionary

    from fairseq_floater.checkpoints.export.corpus import read_description

    args.corpus = read_description(args.data)
    args.dictionaries = {
        side: Dictionary.load(str(args.data / f"bin/dict.{args.corpus[side]}.txt"))
        for side in ("source", "target")
    }
    path = args.data / f"bpe/{args.subset}.{args.corpus['source']}"
    args.sources = path.read_text("utf-8").removesuffix("\n").split("\n")[: args.lines]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--timed", type=int, default=200, help="lines to time; 0: none")
    args = parser.parse_args()
    read_corpus(args)
    state = read_checkpoint(str(args.checkpoint))
    options = state["cfg"]["model"]
    shown = ["position_encoder", "position_injection", "base_positions"]
    shown += ["dynamics"] if options.get("position_encoder") == "floater" else []
    row = " ".join(f"--{n.replace('_', '-')} {options[n]}" for n in shown if options.get(n))
    print(
        HEAD.format(
            row=f"{options['_name']} {row}",
            updates=state["optimizer_history"][-1]["num_updates"],
            lines=len(args.sources),
            subset=args.subset,
            beam=args.beam,
            lenpen=args.lenpen,
            torch=torch.__version__,
            **{name: version(name) for name in ("ctranslate2", "transformers")},
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        programs = exported(args, Path(folder))
        compare(args, programs)
        if args.timed:
            speeds(args, programs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
