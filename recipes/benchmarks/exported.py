"""One model, three programs: does an exported model translate as the original does?

A test set is translated by fairseq with the plugin, by stock fairseq from what `floater export`
wrote, and by CTranslate2 from the same file, through its own converter, in float32. All search
alike, for sums of log-probabilities and for such sums divided by length ** lenpen. What counts is
how many lines are those of the first program; where one is not, both and their scores are shown.

    python recipes/benchmarks/exported.py CHECKPOINT BIN > recipes/results/ctranslate2.md

CHECKPOINT is of a model with positions at the input only, BIN the folder of its data. Needs
ctranslate2, of the extra `test`.
"""

import argparse
import math
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Dict, NamedTuple

import ctranslate2
import torch

from fairseq_floater.checkpoints.files import read_checkpoint

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_floater"

HEAD = """\
{arch}, --position-encoder {encoder} --position-blocks {blocks} --position-injection {injection},
after {updates} updates, on `{subset}`; beam {beam}, torch {torch}, ctranslate2 {ctranslate2}.
Printed by `recipes/benchmarks/exported.py`.

| program | score | lines as of fairseq with the plugin | largest difference of scores |
|---|---|---|---|"""

FOOT = """
CTranslate2's sums are higher by -log(1 - p), where p is the probability that the translation ends
at the first step: it rules this out before the softmax, fairseq after it. All translations of a
sentence gain the same. With `min_decoding_length=0` there and `--min-len 0` here, the scores are
the same up to rounding."""


class Translation(NamedTuple):
    """Tokens joined by spaces, and the score of the translation (natural logarithm)."""

    source: str
    score: float
    text: str


def program(name: str, *arguments: object) -> str:
    """What a program of this environment prints; ends this one if it fails."""
    command = [Path(sysconfig.get_path("scripts")) / name, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {name} failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def by_fairseq(
    args: argparse.Namespace, lenpen: float, checkpoint: Path, *flags: object
) -> Dict[int, Translation]:
    """Sentence number to translation."""
    printed = program(
        "fairseq-generate",
        *(args.data, "--path", checkpoint, "--gen-subset", args.subset, "--beam", args.beam),
        *(("--lenpen", lenpen) if lenpen else ("--unnormalized",)),
        *("--max-len-b", args.longest, "--max-tokens", 4096, "--cpu", "--num-workers", 0),
        *("--required-batch-size-multiple", 1, "--no-progress-bar", *flags),
    )
    sources, translations = {}, {}
    for line in printed.splitlines():
        kind, _, rest = line.partition("-")
        if kind == "S":
            number, source = rest.split("\t")
            sources[number] = source
        elif kind == "H":
            number, score, text = rest.split("\t")
            score = float(score) * math.log(2)  # fairseq prints logarithms to base 2
            translations[int(number)] = Translation(sources[number], score, text)
    return translations


def by_ctranslate2(
    args: argparse.Namespace, lenpen: float, model: Path, sources: Dict[int, str]
) -> Dict[int, Translation]:
    """Sentence number to translation."""
    translator = ctranslate2.Translator(str(model), compute_type="float32")
    results = translator.translate_batch(
        [source.split() for source in sources.values()],
        beam_size=args.beam,
        length_penalty=lenpen,
        max_decoding_length=args.longest,
        max_input_length=0,  # no cut; by default it is after 1,024 tokens
        max_batch_size=64,
        return_scores=True,
    )
    return {
        number: Translation(source, result.scores[0], " ".join(result.hypotheses[0]))
        for (number, source), result in zip(sources.items(), results)
    }


def row(name: str, lenpen: float, found: Dict[int, Translation], wanted: Dict[int, Translation]):
    """Print a row of the table; returns the numbers of the lines that differ."""
    same = [n for n in wanted if found[n].text == wanted[n].text]
    apart = max((abs(found[n].score - wanted[n].score) for n in same), default=math.nan)
    normalised = f"divided by length ** {lenpen}" if lenpen else "sum"
    print(f"| {name} | {normalised} | {len(same)} of {len(wanted)} | {apart:.0e} |", flush=True)
    return [n for n in wanted if n not in same]


def described(args: argparse.Namespace) -> Dict[str, object]:
    """What the head of the table says."""
    state = read_checkpoint(str(args.checkpoint))
    options = state["cfg"]["model"]
    return {
        "arch": options["_name"],
        "encoder": options["position_encoder"],
        "blocks": options["position_blocks"],
        "injection": options["position_injection"],
        "updates": state["optimizer_history"][-1]["num_updates"],
        "subset": args.subset,
        "beam": args.beam,
        "torch": torch.__version__,
        "ctranslate2": version("ctranslate2"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="of a floater_transformer")
    add("data", type=Path, help="folder that fairseq-preprocess wrote")
    add("--subset", default="test", help="default: %(default)s")
    add("--beam", type=int, default=4, help="default: %(default)s")
    add("--lenpen", type=float, default=0.6, help="beside none; default: %(default)s")
    add("--longest", type=int, default=200, help="translation, in tokens; default: %(default)s")
    args = parser.parse_args()
    print(HEAD.format(**described(args)))
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        stock, converted = Path(folder) / "stock.pt", Path(folder) / "ctranslate2"
        program("floater", "export", args.checkpoint, stock, "--to", "fairseq")
        program(
            "ct2-fairseq-converter",
            *("--model_path", stock, "--data_dir", args.data, "--output_dir", converted),
        )
        for lenpen in (0, args.lenpen):
            wanted = by_fairseq(args, lenpen, args.checkpoint, "--user-dir", PLUGIN)
            sources = {number: line.source for number, line in wanted.items()}
            others = {
                "stock fairseq": by_fairseq(args, lenpen, stock),
                "CTranslate2": by_ctranslate2(args, lenpen, converted, sources),
            }
            for name, found in others.items():
                for n in row(name, lenpen, found, wanted):
                    differing.append((name, lenpen, n, wanted[n], found[n]))
    print(FOOT)
    for name, lenpen, number, first, other in differing:
        print(
            f"\nLine {number}, lenpen {lenpen}:\n\n- fairseq, {first.score:.4f}: {first.text}\n"
            f"- {name}, {other.score:.4f}: {other.text}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
