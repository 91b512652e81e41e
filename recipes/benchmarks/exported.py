"""One model, several programs: do they translate as fairseq with the plugin does, and how fast?

The first lines of a test set are translated by fairseq, and then by each program that the model can
be exported to: stock fairseq, CTranslate2 in 32 and 8 bits, and Hugging Face's transformers. All
search with the same beam for the same score; ONNX Runtime takes the likeliest word, by the example
of docs/export.md, and is compared with fairseq that does. What counts is how many lines are those
of fairseq; a line that is not has the difference of both translations' scores in fairseq, which is
close to 0 where two are as good. (exported_kinds.py does this for every kind of positions.) Then
tokens a second, on one thread and on two, one line at a time and in batches. A program that cannot
take the model is listed with the reason.

    python recipes/benchmarks/exported.py CHECKPOINT DATA > recipes/results/exported.md

DATA is what data-prep has made of the corpus. Needs the extra `test`.
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import sacrebleu
import torch

from fairseq_floater.checkpoints.files import read_checkpoint

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_floater"
FAIRSEQ = "fairseq, with the plugin"

HEAD = """\
# Exported models, compared with fairseq

{row}, up to {updates:,} updates, on the first {lines:,}
lines of `{subset}`; beam {beam}, scores divided by length ** {lenpen}; torch {torch},
ctranslate2 {ctranslate2}, transformers {transformers}. Printed by `recipes/benchmarks/exported.py`.
"""


#: from lines of subwords, a batch's size and a number of threads to translations, in subwords, and
#: the seconds they took without loading
Program = Callable[[List[str], int, int], Tuple[List[str], float]]

#: by name: one, or why there is none
Programs = Dict[str, Union[Program, str]]


def program(name: str, *arguments: object) -> str:
    """What a program of this environment prints; raises RuntimeError with its last line."""
    command = [Path(sysconfig.get_path("scripts")) / name, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    return done.stdout


def fairseq(
    args: argparse.Namespace, checkpoint: Path, *flags: object, beam: Optional[int] = None
) -> Program:
    """``fairseq-interactive``, whose time is that of the whole run less that of an empty one."""
    source, target = (args.corpus[side] for side in ("source", "target"))

    def run(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        command = [
            *("fairseq-interactive", args.data / "bin", "--path", checkpoint, "-s", source),
            *("-t", target, "--beam", beam or args.beam, "--lenpen", args.lenpen, "--min-len", 0),
            *(
                "--max-len-b",
                args.longest,
                "--batch-size",
                batch,
                "--buffer-size",
                max(len(lines), batch),
            ),
            *("--cpu", *flags),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.perf_counter()
        done = subprocess.run(
            [str(Path(sysconfig.get_path("scripts"), str(command[0]))), *map(str, command[1:])],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            env=environment,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        found = {}
        for line in done.stdout.splitlines():
            if line.startswith("H-"):
                number, _, text = line[2:].split("\t")
                found[int(number)] = text
        return [found[number] for number in range(len(lines))], seconds

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        translations, seconds = run(lines, batch, threads)
        if args.timed:
            seconds -= run(lines[:1], batch, threads)[1]
        return translations, seconds

    return translate


def onnx(args: argparse.Namespace, folder: Path) -> Program:
    import onnxruntime

    page = (PLUGIN.parent / "docs/export.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    names: Dict[str, Any] = {}
    exec(next(block for block in blocks if "onnxruntime" in block), names)
    greedy = names["Greedy"](folder)

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        for name, file in (("encoder", "encoder"), ("step", "decoder_step")):
            session = onnxruntime.InferenceSession(folder / f"{file}.onnx", settings)
            setattr(greedy, name, session)
        found, started = [""] * len(lines), time.perf_counter()
        for part in by_length(lines, batch):
            for number, text in zip(part, greedy([lines[n] for n in part], args.longest)):
                found[number] = text
        return found, time.perf_counter() - started

    return translate


def by_length(lines: List[str], batch: int) -> Iterator[List[int]]:
    """Numbers of lines of like length."""
    order = sorted(range(len(lines)), key=lambda number: len(lines[number].split()))
    for first in range(0, len(order), batch):
        yield order[first : first + batch]


def ctranslate2(args: argparse.Namespace, folder: Path) -> Program:
    import ctranslate2

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        translator = ctranslate2.Translator(str(folder), inter_threads=1, intra_threads=threads)
        started = time.perf_counter()
        results = translator.translate_batch(
            [line.split() for line in lines],
            beam_size=args.beam,
            length_penalty=args.lenpen,
            max_decoding_length=args.longest,
            min_decoding_length=0,
            max_input_length=0,  # no cut; by default it is after 1,024 tokens
            max_batch_size=batch,
        )
        seconds = time.perf_counter() - started
        return [" ".join(result.hypotheses[0]) for result in results], seconds

    return translate


def transformers(args: argparse.Namespace, folder: Path) -> Program:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).eval()
    numbers, special = tokenizer.numbers["source"], tokenizer.all_special_ids

    def translate(lines: List[str], batch: int, threads: int) -> Tuple[List[str], float]:
        torch.set_num_threads(threads)
        found, started = [""] * len(lines), time.perf_counter()
        for part in by_length(lines, batch):
            ids = [[*(numbers.get(w, 3) for w in lines[n].split()), 2] for n in part]
            given = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
            with torch.no_grad():
                written = model.generate(
                    **given,
                    num_beams=args.beam,
                    length_penalty=args.lenpen,
                    min_new_tokens=0,
                    max_new_tokens=args.longest + 1,
                )
            for number, row in zip(part, written.tolist()):
                kept = [token for token in row if token not in special or token == 3]
                found[number] = " ".join(tokenizer.convert_ids_to_tokens(kept))
        return found, time.perf_counter() - started

    return translate


def exported(args: argparse.Namespace, folder: Path) -> Programs:
    """By name: a ``Program``, or why there is none."""

    def export(to: str, out: Path, *more: object) -> Path:
        data = () if to == "fairseq" else ("--data", args.data)
        program("floater", "export", args.checkpoint, out, "--to", to, *data, *more)
        return out

    plugin = ("--user-dir", PLUGIN)
    makers: Dict[str, Callable[[], Program]] = {
        FAIRSEQ: lambda: fairseq(args, args.checkpoint, *plugin),
        "stock fairseq": lambda: fairseq(args, export("fairseq", folder / "stock.pt")),
        "CTranslate2": lambda: ctranslate2(args, export("ctranslate2", folder / "ct2")),
        "CTranslate2, int8": lambda: ctranslate2(
            args, export("ctranslate2", folder / "int8", "--quantization", "int8")
        ),
        "transformers": lambda: transformers(args, export("huggingface", folder / "hf")),
        f"{FAIRSEQ}, greedy": lambda: fairseq(
            args, args.checkpoint, *plugin, "--min-len", 1, beam=1
        ),
        "ONNX Runtime, greedy": lambda: onnx(args, export("onnx", folder / "onnx")),
    }
    found: Programs = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except RuntimeError as error:
            found[name] = str(error).removeprefix(f"{args.checkpoint} ")
    return found


def scores(args: argparse.Namespace, pairs: Dict[str, List[str]]) -> Dict[str, List[float]]:
    """fairseq's scores of translations, by (source, translations): natural logarithms, divided."""
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
    """A line of subwords as text."""
    if args.corpus["subword"] == "sentencepiece":
        return line.replace(" ", "").replace("\u2581", " ").strip()
    return f"{line} ".replace("@@ ", "").strip()


class Compared(NamedTuple):
    """How one program translates, beside fairseq.

    Attributes:
        same, of: lines that are those of fairseq, and all lines.
        apart: the largest difference of scores in fairseq of those that are not.
        bleu: of all lines.
    """

    same: int
    of: int
    apart: float
    bleu: float


def compared(
    args: argparse.Namespace, programs: Programs
) -> Iterator[Tuple[str, Union[Compared, str]]]:
    """Each program with what came of it, or why there is none."""
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
    print(f"\nTokens a second, of {args.timed} lines, without loading:\n")
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
    """With what says how models translate, and what."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("checkpoint", type=Path, help="of a floater_transformer")
    add("data", type=Path, help="folder that data-prep has made")
    add("--subset", default="test", help="default: %(default)s")
    add("--lines", type=int, default=1000, help="to compare; default: %(default)s")
    add("--batch", type=int, default=64, help="default: %(default)s")
    add("--beam", type=int, default=4, help="default: %(default)s")
    add("--lenpen", type=float, default=0.6, help="default: %(default)s")
    add("--longest", type=int, default=200, help="translation, in tokens; default: %(default)s")
    return parser


def read_corpus(args: argparse.Namespace) -> None:
    """Put the corpus, its dictionaries and its first lines beside the options."""
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
