"""Keep the pairs of a split whose source has a given number of words, in all of its files.

    python data-prep/filter.py --max-source-words 12 raw/train.en \\
        raw/train.en short/train.en  raw/train.de short/train.de  tok/train.en short/tok.en ...

The first file decides.  Its words are those that white space separates, so it should be raw text.
Each FROM is copied to the TO beside it without the dropped lines.  Only "\\n" ends a line.
"""

import argparse
import sys
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from stages import Parser, UserError, report_errors, within
from whole import written


def filter_lines(
    source: Path, moves: list[tuple[Path, Path]], least: int, most: int
) -> tuple[int, int]:
    """Write the lines that are kept, and return their number and the number of all lines."""
    kept = number = 0
    with ExitStack() as stack:
        paths = [source, *(path for path, _ in moves)]
        inputs = [stack.enter_context(path.open("rb")) for path in paths]
        outputs = [stack.enter_context(written(target)) for _, target in moves]
        for number, (line, *others) in enumerate(zip_longest(*inputs), 1):
            if line is None or None in others:
                names = ", ".join(map(str, dict.fromkeys(paths)))
                raise UserError(f"not all files reach line {number:,}: {names}: make them parallel")
            words = len(line.decode(errors="replace").split())
            if words >= least and (most == 0 or words <= most):
                kept += 1
                for output, other in zip(outputs, others, strict=True):
                    output.write(other)
    return kept, number


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    words = within(int, 0, 1_000_000)
    help = "drop pairs with more words (0: drop none)"
    parser.add_argument("--max-source-words", type=words, default=0, metavar="N", help=help)
    help = "drop pairs with fewer words"
    parser.add_argument("--min-source-words", type=words, default=0, metavar="N", help=help)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="raw text of the source side")
    parser.add_argument("files", nargs="+", type=Path, metavar="FROM TO", help="files to filter")
    args = parser.parse_args()
    if len(args.files) % 2:
        parser.error(f"FROM and TO go in pairs, but there are {len(args.files)} of them")
    args.moves = list(zip(args.files[::2], args.files[1::2], strict=True))
    return args


def run(args: argparse.Namespace) -> None:
    least, most = args.min_source_words, args.max_source_words
    kept, total = filter_lines(args.source, args.moves, least, most)
    if not kept:
        limits = f"--max-source-words {most}" + f" --min-source-words {least}" * bool(least)
        raise UserError(f"{limits} leaves none of {total:,} pairs of {args.source}: change it")
    print(f"kept {kept:,} of {total:,} pairs")


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
