"""Unpack an archive into a new folder: all of it, or nothing if anything is wrong.

    python data-prep/unpack.py corpus.tgz folder --member 'de-en/*.xml' --member 'de-en/train.*'

An archive is a tar (plain, gz, bz2 or xz), a single gz file, or a Debian package (.deb).  Absolute
paths, paths and links that lead out of the folder, devices, and archives that would fill the disk
(bounds.py) are refused.  Patterns are those of a shell, except that * also matches /.
"""

import argparse
import bz2
import errno
import fnmatch
import gzip
import lzma
import os
import re
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bounds import MOST, Bounded, BoundedTar
from progress import Progress
from stages import Parser, UserError, one_line, report_errors, within
from whole import filled

BLOCK = 1 << 16  # bytes
# The second line has what damage causes within Python's tarfile: nested headers, impossible times.
DAMAGE = (
    *(tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError),
    *(RecursionError, OverflowError, MemoryError, KeyError, IndexError, TypeError),
)
# Errors of the disk; others, such as a file where a folder must be, come from the archive.
OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.EFBIG),
)
OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def open_deb(archive: BinaryIO, folder: Path) -> BinaryIO:
    """Copy the data.tar.* of a Debian package, which is an ar archive, to an unnamed file."""
    archive.seek(8)
    while len(header := archive.read(60)) == 60:
        if not re.fullmatch(rb"[0-9]{1,10} *", header[48:58]):
            size = header[48:58].decode("ascii", "replace")
            raise ValueError(f"a member has the size {one_line(size)!r}")
        name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            data = tempfile.TemporaryFile(dir=folder)
            while size and (block := archive.read(min(BLOCK, size))):
                size -= data.write(block)
            if size:
                raise EOFError("the file ends within data.tar")
            data.seek(0)
            return data
        archive.seek(size + size % 2, os.SEEK_CUR)
    raise EOFError("it has no data.tar")


def decompressed(file: BinaryIO) -> BinaryIO:
    """Return the decompressed content of a file, or the file itself if it is not compressed."""
    magic = file.read(6)
    file.seek(0)
    found = [opener for start, opener in OPENERS.items() if magic.startswith(start)]
    return found[0](file) if found else file


def open_tar(stream: Bounded) -> BoundedTar:
    try:
        return BoundedTar(fileobj=stream)
    except tarfile.ReadError as error:
        raise tarfile.ReadError(f"it is not a tar, gz or deb: {error}") from None


def require_within(member: tarfile.TarInfo, name: str, folder: Path) -> None:
    """Refuse a name that leads out of the folder, and any path that leads through a link.

    The filter of tarfile resolves names on the disk, and some versions get long ones wrong.
    """
    parts = PurePosixPath(name).parts
    out = ".." in parts
    link = ""
    if member.issym() or member.islnk():
        link = f" links to {member.linkname!r},"
        target = list(PurePosixPath(member.linkname).parts)
        up = len(parts) - 1 if member.issym() else 0
        while target and target[0] == ".." and up > 0:
            up -= 1
            del target[0]
        out = out or ".." in target or member.linkname.startswith("/")
    if out:
        raise UserError(f"member {name!r}{link} leads out of the folder")
    ways = [parts, PurePosixPath(member.linkname).parts] if member.islnk() else [parts]
    for way in ways:
        places = (folder.joinpath(*way[:depth]) for depth in range(1, len(way)))
        if any(os.path.islink(place) for place in places):
            raise UserError(f"member {name!r}{link} leads through a link")


def extract(tar: tarfile.TarFile, folder: Path, patterns: list[str]) -> int:
    """Extract the members that match a pattern, or all, and return their number."""
    count = total = 0
    for member in tar:
        name = member.name.removeprefix("./")
        if name.startswith("/"):
            raise UserError(f"member {name!r} has an absolute path")
        if not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            total += member.size  # also counts sparse files, which are small in the archive
            tar.fileobj.check(total)
            require_within(member, name, folder)
            try:
                tar.extract(member, folder, filter="data")
            except tarfile.SpecialFileError:
                raise UserError(f"member {name!r} is a device or a pipe") from None
            except tarfile.FilterError:
                link = f" links to {member.linkname!r}," if member.islnk() or member.issym() else ""
                raise UserError(f"member {name!r}{link} leads out of the folder") from None
            except KeyError:
                raise UserError(f"member {name!r} links to a missing member") from None
            count += 1
    # tarfile takes a damaged header for the end of the archive, which is a block of zeros.
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"it has no end mark at byte {tar.offset:,}")
    while tar.fileobj.read(BLOCK):  # up to the checksum of a compressed archive
        pass
    return count


def unpack(file: BinaryIO, name: Path, folder: Path, patterns: list[str], most: int) -> None:
    """Fill ``folder`` from the archive.

    Raises:
        DAMAGE: if the archive is damaged.
        UserError: if it is refused; the message still lacks the archive and the fix.
    """
    packed = os.fstat(file.fileno()).st_size
    progress = Progress(name.name, " unpacked")
    if file.read(8) == b"!<arch>\n":
        file = open_deb(file, folder)
    file.seek(0)
    with file, decompressed(file) as stream:
        bounded = Bounded(stream, packed, most, progress, "--most")
        if stream is not file and name.suffix == ".gz" and not name.stem.endswith(".tar"):
            with (folder / name.stem).open("xb") as target:
                while block := bounded.read(BLOCK):
                    target.write(block)
            return
        with open_tar(bounded) as tar:
            if not extract(tar, folder, patterns):
                raise UserError(f"no member matches {' '.join(patterns) or 'anything'}")


def run(args: argparse.Namespace) -> None:
    archive, folder = args.archive, args.folder
    if folder.is_symlink():
        raise UserError(f"{folder} is a symbolic link: delete it or name another folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: delete it or name another folder")
    most = int(args.most * (1 << 30))
    with archive.open("rb") as file, filled(folder) as part:
        try:
            unpack(file, archive, part, args.member, most)
        except UserError as error:
            raise UserError(f"{archive}: {error}: get the archive from its publisher") from None
        except DAMAGE as error:
            if getattr(error, "errno", None) in OF_THE_DISK:
                raise
            why = error.strerror if getattr(error, "errno", None) else str(error).partition("\n")[0]
            why = one_line(why) or type(error).__name__
            raise UserError(f"{archive} is damaged ({why}): delete it and run again") from None


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("archive", type=Path, metavar="ARCHIVE")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder to make")
    help = "unpack only the members that match; may be repeated"
    parser.add_argument("--member", action="append", default=[], metavar="PATTERN", help=help)
    help = "most GiB that may come out (%(default)g)"
    size = within(float, 0.001, 1000)
    parser.add_argument("--most", type=size, default=MOST / (1 << 30), metavar="GIB", help=help)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
