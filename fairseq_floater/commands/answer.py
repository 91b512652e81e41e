"""``floater answer``: the answers that a fine-tuned model gives."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "write the answers of a fine-tuned model to the questions of a file"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoint",
        type=Path,
        help="checkpoint of a training with --task floater_question_answering",
    )
    add("data", type=Path, help="folder with SUBSET.json, as for that training")
    add("--subset", default="valid", help="subset of the data; default: %(default)s")
    add(
        "--out",
        type=Path,
        required=True,
        help="folder to write, with predictions.json, null_odds.json and nbest.json",
    )
    add(
        "--null-threshold",
        type=float,
        help="for a submission: give no answer where that is better by more than this; scoring "
        "finds the best threshold only without this; default: always give an answer",
    )
    add(
        "--longest",
        type=at_least_one,
        default=30,
        help="longest answer, in pieces; default: %(default)s",
    )
    add(
        "--best",
        type=at_least_one,
        default=20,
        help="number of answers to list per question; default: %(default)s",
    )
    add(
        "--window-length",
        type=at_least_one,
        help="longest window, in pieces; if the model's own position table is shorter, its last "
        "row is repeated; default: as in training",
    )
    add(
        "--window-step",
        type=at_least_one,
        help="distance from the beginning of a window to that of the next, in pieces; default: as "
        "in training",
    )
    add(
        "--max-tokens",
        type=at_least_one,
        default=4096,
        help="largest batch, in tokens; default: %(default)s",
    )


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.understanding.answers import answer

    found = answer(
        args.checkpoint,
        args.data,
        args.subset,
        args.out,
        args.null_threshold,
        args.longest,
        args.best,
        args.max_tokens,
        args.window_length,
        args.window_step,
    )
    print(f"{args.out}/predictions.json: {len(found):,} answers")
