"""Print the results of the quick start: a table of rows and of copying the source, and samples.

Reads RUNS/quickstart/en-de.ROW.seed1.json and the plain test set in RUNS/data.
"""

import argparse
import sys
from pathlib import Path

from fairseq_floater.results.generation import read_lines
from fairseq_floater.results.record import read_records
from fairseq_floater.results.scores import metrics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder of all runs")
    parser.add_argument("rows", nargs="+", help="rows to show; samples are of the first one")
    args = parser.parse_args()

    raw = args.runs / "data/localisation.en-de/raw"
    sources, references = read_lines(raw / "test.en"), read_lines(raw / "test.de")
    records = {r.row: r for r in read_records(args.runs / "quickstart", [1])}
    print(f"\n{'':20} {'BLEU':>6} {'chrF':>6} {'parameters':>12} {'words/s':>9}")
    for row in args.rows:
        scores, cost = records[row].tests["test"], records[row].training
        speed = f"{cost['words_per_second']:9,.0f}" if "words_per_second" in cost else ""
        line = f"{row:20} {scores['bleu']:6.1f} {scores['chrf']:6.1f}"
        print(f"{line} {cost['parameters']:12,} {speed}")
    copied = [m.corpus_score(sources, [references]).score for m in metrics(False).values()]
    print(f"{'copy of the source':20} {copied[0]:6.1f} {copied[1]:6.1f}")
    print("\n".join(f"{k}: {v}" for k, v in records[args.rows[0]].signatures.items()))

    print(f"\nfive translations by {args.rows[0]}:")
    outputs = records[args.rows[0]].tests["test"]["hypotheses"]
    step = len(sources) // 5
    for i in range(step // 2, 5 * step, step):
        print(f"\n  source     {sources[i]}\n  output     {outputs[i]}")
        print(f"  reference  {references[i]}")
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
