"""The ``floater`` command."""

import argparse
import logging
import sys
from pathlib import Path
from typing import List, Optional

from fairseq_floater.errors import UserError


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    logging.getLogger().setLevel(logging.WARNING)  # fairseq sets it to DEBUG for all libraries
    try:
        args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="floater", description="Tools for FLOATER in fairseq.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    user_dir = commands.add_parser("user-dir", help="print the path to give as --user-dir")
    user_dir.set_defaults(run=_user_dir)

    heatmap = commands.add_parser("heatmap", help="draw a checkpoint's position encodings")
    heatmap.add_argument("checkpoint", type=Path, help="a floater_transformer checkpoint")
    heatmap.add_argument("picture", type=Path, help="file to write, such as encodings.png")
    heatmap.add_argument(
        "--stack", choices=("encoder", "decoder"), default="encoder", help="default: %(default)s"
    )
    heatmap.add_argument(
        "--positions", type=_at_least_one, default=252, help="how many; default: %(default)s"
    )
    heatmap.set_defaults(run=_heatmap)
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def _user_dir(args: argparse.Namespace) -> None:
    print(Path(__file__).resolve().parent)


def _heatmap(args: argparse.Namespace) -> None:
    from fairseq_floater.heatmap import draw_heatmap  # matplotlib is slow to import

    draw_heatmap(args.checkpoint, args.picture, args.stack, args.positions)
    print(args.picture)


if __name__ == "__main__":
    sys.exit(main())
