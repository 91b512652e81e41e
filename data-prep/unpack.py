"""Unpack an archive into a new folder: all of it or, if something is amiss, nothing.

    python data-prep/unpack.py corpus.tgz folder --member 'de-en/*.xml' --member 'de-en/train.*'

Archives are tar (plain, gz, bz2, xz), a single gz file, and Debian's packages (.deb).  Absolute
paths, paths and links that lead out of the folder, and devices are refused.  A pattern is that of
a shell, where * matches / too.
"""

import argparse
import fnmatch
import gzip
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

from stages import Parser, UserError, report_errors

BLOCK = 1 << 20  # bytes
DAMAGE = (tarfile.ReadError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError)


def open_deb(archive: BinaryIO) -> BinaryIO:
    """Copy the data.tar.* of a Debian package, an archive of ar, to a nameless file."""
    archive.seek(8)
    while len(header := archive.read(60)) == 60:
        name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            data = tempfile.TemporaryFile()
            while size and (block := archive.read(min(BLOCK, size))):
                size -= data.write(block)
            if size:
                raise EOFError("the file ends within data.tar")
            data.seek(0)
            return data
        archive.seek(size + size % 2, os.SEEK_CUR)
    raise EOFError("it has no data.tar")


def extract(tar: tarfile.TarFile, folder: Path, patterns: list[str]) -> int:
    """Extract the members that match a pattern, or all; returns how many."""
    count = 0
    for member in tar:
        name = member.name.removeprefix("./")
        if name.startswith("/"):
            raise UserError(f"member {name!r} has an absolute path")
        if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.SpecialFileError:
                raise UserError(f"member {name!r} is a device or a pipe") from None
            except tarfile.FilterError:
                link = f" links to {member.linkname!r}," if member.islnk() or member.issym() else ""
                raise UserError(f"member {name!r}{link} leads out of the folder") from None
            except KeyError:
                raise UserError(f"member {name!r} links to what is not there") from None
            count += 1
    # tarfile takes a damaged header for the end of the archive, which is a block of zeros.
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"it ends without a mark at byte {tar.offset:,}")
    while tar.fileobj.read(BLOCK):  # to the checksum of a compressed archive
        pass
    return count


def unpack(archive: Path, folder: Path, patterns: list[str]) -> None:
    """Fill ``folder`` from the archive; raises DAMAGE and UserError, the latter half a message."""
    with archive.open("rb") as file:
        magic = file.read(8)
        file.seek(0)
        if magic == b"!<arch>\n":
            file = open_deb(file)
        elif archive.suffix == ".gz" and not archive.stem.endswith(".tar"):
            with gzip.open(file) as source, (folder / archive.stem).open("wb") as target:
                shutil.copyfileobj(source, target, BLOCK)
            return
        with file, tarfile.open(fileobj=file) as tar:
            if not extract(tar, folder, patterns):
                raise UserError(f"no member matches {' '.join(patterns) or 'anything'}")


def run(args: argparse.Namespace) -> None:
    archive, folder = args.archive, args.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there and not empty: delete it or name another folder")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        unpack(archive, part, args.member)
        os.replace(part, folder)
    except UserError as error:
        raise UserError(f"{archive}: {error}: get the archive from its publisher") from None
    except DAMAGE as error:
        if getattr(error, "errno", None):  # of the disk, not of the archive
            raise
        why = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{archive} is damaged ({why}): delete it and run again") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def parse_args() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("archive", type=Path, metavar="ARCHIVE")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to make")
    help = "unpack only what matches; may be repeated"
    parser.add_argument("--member", action="append", default=[], metavar="PATTERN", help=help)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
