"""``floater score-answers``: score the answers of a fine-tuned model."""

import argparse
import json
from pathlib import Path

SUMMARY = "score what floater answer wrote as SQuAD's own scripts do, and record a run as JSON"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=Path, help="folder with answer.TEST, which floater answer wrote, for each test")
    add("--data", type=Path, required=True, help="folder with TEST.json")
    add("--tests", required=True, help="such as valid or valid,test")
    add(
        "--null-threshold",
        type=float,
        help="count answers as none where that is better by more than this; without it, the best "
        "threshold is looked for; default: count all",
    )
    add("--out", type=Path, help="folder of results; one JSON file per run")
    add("--name", default="", help="EXPERIMENT/TASK/ROW, with --out")
    add(
        "--checkpoint",
        type=Path,
        help="checkpoint that answered, with --out; RUN must then have a train.log",
    )
    add("--order", type=int, default=0, help="place of the row in its table; default: %(default)s")
    add("--seed", type=int, default=1, help="seed of the training; default: %(default)s")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.errors import UserError
    from fairseq_floater.understanding.run import read_and_score_answers, record_tests

    if args.out is None and (args.name or args.checkpoint):
        raise UserError("--name and --checkpoint are for a record: give --out as well")
    tests = {
        test: read_and_score_answers(
            args.run / f"answer.{test}", args.data / f"{test}.json", args.null_threshold
        )
        for test in args.tests.split(",")
    }
    print(json.dumps(tests, indent=1))
    if args.out is None:
        return
    if args.checkpoint is None:
        raise UserError("--out needs to know which checkpoint answered: give --checkpoint")
    record_tests(args.run, args.out, args.name, args.checkpoint, tests, args.order, args.seed)
