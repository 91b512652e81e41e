"""``floater predict``: write the classes or scores that a fine-tuned model predicts."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "write what a fine-tuned model predicts for every row of a data set"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoint",
        type=Path,
        help="checkpoint of a training with --task floater_sentence_prediction, fairseq's own "
        "sentence_prediction, or floater_multiple_choice",
    )
    add("data", type=Path, help="folder of data in the form that it was trained on")
    add("--subset", default="valid", help="subset of the data; default: %(default)s")
    add("--out", type=Path, required=True, help="table to write, with index, prediction and label")
    add(
        "--factor",
        type=float,
        default=1.0,
        help="multiplies scores: 5 for STS-B; default: %(default)s",
    )
    add(
        "--max-tokens",
        type=at_least_one,
        default=4096,
        help="largest batch, in tokens; default: %(default)s",
    )
    add(
        "--truncate",
        action="store_true",
        help="cut sentences at the training's --max-positions instead of refusing long ones",
    )


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.understanding.classes import predict

    options = (args.max_tokens, args.factor, args.truncate)
    found = predict(args.checkpoint, args.data, args.subset, args.out, *options)
    print(f"{args.out}: {len(found.predictions):,} rows")
