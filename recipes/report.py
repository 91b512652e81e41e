"""Score the translations of the quick start, beside copying the source, and show some.

Reads what fairseq-generate wrote to OUT/NAME/generate.log and the plain test set in
OUT/corpus/raw; prints sacreBLEU and chrF with their signatures, and writes OUT/results.json.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def read_hypotheses(log: Path) -> list[str]:
    """The best hypothesis of each sentence, in the order of the test set."""
    found = {}
    for line in read_lines(log):
        if match := re.match(r"H-(\d+)\t\S+\t(.*)", line):
            found[int(match[1])] = match[2]
    if sorted(found) != list(range(len(found))):
        raise SystemExit(f"error: {log} is incomplete: delete it and run again")
    return [found[i] for i in range(len(found))]


def speed_and_size(log: Path) -> dict[str, float]:
    """Training speed (target words a second) and parameters, from the training log."""
    text = log.read_text(encoding="utf-8")
    speeds = [float(x) for x in re.findall(r"train_inner.*? wps=([\d.]+)", text)]
    size = re.findall(r"num\. shared model params: ([\d,]+)", text)
    return {
        "words_per_second": sorted(speeds)[len(speeds) // 2] if speeds else 0.0,
        "parameters": int(size[-1].replace(",", "")) if size else 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the quick start")
    parser.add_argument("names", nargs="+", help="runs to score, the first one in full")
    args = parser.parse_args()

    sources = read_lines(args.out / "corpus/raw/test.en")
    references = read_lines(args.out / "corpus/raw/test.de")
    systems = {name: read_hypotheses(args.out / name / "generate.log") for name in args.names}
    systems["copy of the source"] = sources
    bleu, chrf = BLEU(), CHRF()
    results = {}
    print(f"{'':20} {'BLEU':>6} {'chrF':>6} {'parameters':>12} {'words/s':>9}")
    for name, hypotheses in systems.items():
        if len(hypotheses) != len(references):
            raise SystemExit(
                f"error: {name} has {len(hypotheses)} translations for {len(references)} "
                f"sentences: delete {args.out / name} and run again"
            )
        row = {
            "bleu": bleu.corpus_score(hypotheses, [references]).score,
            "chrf": chrf.corpus_score(hypotheses, [references]).score,
        }
        log = args.out / name / "train.log"
        row |= speed_and_size(log) if log.exists() else {}
        results[name] = row
        cost = (
            f"{row['parameters']:12,} {row['words_per_second']:9,.0f}"
            if "parameters" in row
            else ""
        )
        print(f"{name:20} {row['bleu']:6.1f} {row['chrf']:6.1f} {cost}")
    results["signatures"] = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    print("\n".join(f"{k}: {v}" for k, v in results["signatures"].items()))
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")

    print(f"\nfive translations by {args.names[0]}:")
    step = len(sources) // 5
    for i in range(step // 2, 5 * step, step):
        print(f"\n  source     {sources[i]}\n  output     {systems[args.names[0]][i]}")
        print(f"  reference  {references[i]}")
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
