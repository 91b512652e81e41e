"""Check that the files of a split are parallel: UTF-8, with the same number of lines in each.

    python data-prep/check.py raw/train.en raw/train.de bpe/train.en bpe/train.de

Only "\\n" ends a line.
"""

import argparse
import sys
from pathlib import Path

from stages import Parser, UserError, decode, report_errors


def count_lines(path: Path) -> int:
    """Count the lines of a file, with or without a final "\\n"; all must be valid UTF-8."""
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            decode(line, path, number)
    return number


def check(paths: list[Path]) -> int:
    """Return the number of lines, which all files must share."""
    first, *others = [(path, count_lines(path)) for path in paths]
    for path, lines in others:
        if lines != first[1]:
            counts = f"{first[0]} has {first[1]:,} lines but {path} has {lines:,}"
            raise UserError(f"{counts}: delete both and make them again")
    return first[1]


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of one split")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(report_errors(lambda: check(parse_args().files) and None))
