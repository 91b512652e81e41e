"""``floater average``: the average of several checkpoints."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "average checkpoints into one"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("checkpoints", type=Path, nargs="+", help="checkpoint files, or a --save-dir with --last")
    add(
        "--last",
        type=at_least_one,
        help="average this many of the last checkpoints in the --save-dir",
    )
    add("--out", type=Path, required=True, help="checkpoint to write")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.checkpoints.average import average_checkpoints, last_checkpoints

    checkpoints = args.checkpoints
    if args.last:
        checkpoints = [c for folder in checkpoints for c in last_checkpoints(folder, args.last)]
    average_checkpoints(checkpoints, args.out)
    print(f"{args.out}: average of {', '.join(c.name for c in checkpoints)}")
