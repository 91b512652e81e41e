"""``floater heatmap``: draw pictures of position encodings."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "draw a checkpoint's position encodings"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="checkpoint",
        help="checkpoints of models of the plugin: one to see all its tracks, several to compare "
        "the first",
    )
    add("picture", type=Path, help="file to write, such as encodings.png")
    add(
        "--stack",
        help="stack to draw, such as encoder, or encoder-base for what its biases stand beside "
        "(--base-positions); default: the first with positions",
    )
    add(
        "--positions",
        type=at_least_one,
        default=252,
        help="number of positions; default: %(default)s",
    )


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.inspection.heatmap import draw_heatmap, draw_side_by_side  # slow to import

    if len(args.checkpoints) == 1:
        draw_heatmap(args.checkpoints[0], args.picture, args.stack, args.positions)
    else:
        draw_side_by_side(args.checkpoints, args.picture, args.stack, args.positions)
    print(args.picture)
