"""``floater score-labels``: score the predictions of a fine-tuned model."""

import argparse
from pathlib import Path

SUMMARY = "score what floater predict wrote, and record the run in one JSON file"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=Path, help="folder with train.log and predict.TEST.tsv")
    add("--name", required=True, help="EXPERIMENT/TASK/ROW")
    add("--checkpoint", type=Path, required=True, help="checkpoint that made the predictions")
    help = "data sets, such as valid,valid1; if none, record only the training's cost and losses"
    add("--tests", default="", help=help)
    add("--metrics", default="", help="such as accuracy,f1; also matthews, pearson, spearman")
    add("--order", type=int, default=0, help="place of the row in its table; default: %(default)s")
    add("--seed", type=int, default=1, help="seed of the training; default: %(default)s")
    add("--out", type=Path, required=True, help="folder of results; one JSON file per run")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.errors import UserError
    from fairseq_floater.understanding.run import read_and_score_labels, record_tests

    if bool(args.tests) != bool(args.metrics):
        raise UserError("--tests and --metrics go together: give both of them, or none")
    metrics = args.metrics.split(",")
    tests = {
        test: read_and_score_labels(args.run / f"predict.{test}.tsv", metrics)
        for test in filter(None, args.tests.split(","))
    }
    record_tests(args.run, args.out, args.name, args.checkpoint, tests, args.order, args.seed)
    for test, scores in tests.items():
        shown = ", ".join(f"{name} {scores[name]:.1f}" for name in metrics)
        print(f"{test}: {shown} of {scores['rows']:,} rows")
