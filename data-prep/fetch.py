"""Download a file and verify it.

    python data-prep/fetch.py https://host/path/corpus.tgz download/corpus.tgz --sha256 HEX
    python data-prep/fetch.py apt:PACKAGE=VERSION download/PACKAGE_VERSION_all.deb --sha256 HEX

A file that is there and verifies is kept.  The environment variable DATA_MIRROR, a folder or an
address, is tried first: for MIRROR/host/path/corpus.tgz, then for MIRROR/corpus.tgz.  What has
arrived of a download stays in FILE.part, and the next try or run goes on from there.  Packages of
Debian are downloaded with apt-get, not installed.
"""

import argparse
import fcntl
import hashlib
import http.client
import io
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stages import Parser, UserError, report_errors

TRIES = 5  # in a row that bring nothing
WAIT = 0.5  # seconds before the second try; each later one waits twice as long
TIMEOUT = 30  # seconds without a byte
REPORT = 5  # seconds between reports of progress
BLOCK = 1 << 16  # bytes

FAULTS = (
    urllib.error.URLError,  # HTTPError too
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
Checksum = tuple[str, str]  # algorithm and hexadecimal digits


class Missing(Exception):
    """The server, or the folder, does not have the file."""


def verify(path: Path, checksum: Checksum | None, origin: str, mend: str) -> None:
    """Delete a file that is not what was asked for, and say so in an error."""
    if not checksum:
        return
    algorithm, wanted = checksum
    with path.open("rb") as file:
        got = hashlib.file_digest(file, algorithm).hexdigest()
    if got != wanted:
        path.unlink()
        raise UserError(f"{origin} has {algorithm} {got}, not {wanted}: {mend}")


@contextmanager
def one_at_a_time(folder: Path):
    """Hold a lock on the folder: of two downloads of a file, the second finds it done."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_at(url: str, start: int) -> tuple[BinaryIO, int, int | None]:
    """Ask for a file from byte ``start``; returns the answer, where it starts, the file's size."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # FILE.part is all of the file, or more than that
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return io.BytesIO(), start, start
            return open_at(url, 0)
        if error.code in (404, 410):
            raise Missing(f"HTTP {error.code}") from None
        raise
    except urllib.error.URLError as error:
        if isinstance(error.reason, FileNotFoundError):  # of a file: address
            raise Missing("no such file") from None
        raise
    length = answer.headers.get("Content-Length")
    if getattr(answer, "status", None) != 206:
        start = 0
    return answer, start, int(length) + start if length else None


def receive(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Bring ``part`` to the file's full size, or raise one of FAULTS or Missing."""
    answer, start, size = open_at(url, size_of(part))
    with answer, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while block := answer.read(BLOCK):
            file.write(block)
            report(file.tell(), size)
        if size is not None and file.tell() < size:
            raise ConnectionError(f"the connection ended at byte {file.tell():,} of {size:,}")


def progress(name: str) -> Callable[[int, int | None], None]:
    last = time.monotonic()

    def report(done: int, size: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT:
            last = time.monotonic()
            total = f" of {size / 1e6:,.1f}" if size else ""
            print(f"{name}: {done / 1e6:,.1f}{total} MB", file=sys.stderr, flush=True)

    return report


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def download(url: str, part: Path) -> None:
    """Download to ``part``; after a fault again, and as long as that brings more."""
    tries, had = 0, size_of(part)
    while True:
        try:
            return receive(url, part, progress(part.stem))
        except urllib.error.HTTPError as error:
            why = f"HTTP {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise UserError(f"{url}: {why}: check the address, or set DATA_MIRROR") from None
        except FAULTS as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        tries = 1 if size_of(part) > had else tries + 1
        had = max(had, size_of(part))
        if tries == TRIES:
            raise UserError(f"{url}: {why}: check the network, then run again to go on")
        print(f"{part.stem}: {why}: trying again", file=sys.stderr, flush=True)
        time.sleep(WAIT * 2 ** (tries - 1))


def apt_download(package: str, path: Path, part: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command = ["apt-get", "download", "-q", package]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
            why = (done.stderr.strip() or "no message").splitlines()[-1].removeprefix("E: ")
        except FileNotFoundError:
            why = "no apt-get here"
        if not (found := list(Path(folder).glob("*.deb"))):
            raise UserError(
                f"apt-get download {package}: {why}: run apt-get update, or get {path.name} from "
                f"Debian and put it into {path.parent}"
            )
        os.replace(found[0], part)


def names_of(url: str, path: Path) -> list[str]:
    """What the file may be called in a mirror; by the first name it is in lists of checksums."""
    split = urllib.parse.urlsplit(url)
    return [path.name] if split.scheme == "apt" else [split.netloc + split.path, path.name]


def try_mirror(mirror: str, url: str, path: Path, part: Path) -> str:
    """Fill ``part`` from the mirror; returns where the file was found, or nothing."""
    why = f"does not have {path.name}"
    for name in names_of(url, path):
        origin = f"{mirror.rstrip('/')}/{name.lstrip('/')}"
        try:
            if "://" in mirror:
                download(origin, part)
                return origin
            if os.path.isfile(origin):
                shutil.copyfile(origin, part)
                return origin
        except Missing:
            pass
        except UserError as error:
            why = f"failed ({error})"
            break
    print(f"DATA_MIRROR {mirror} {why}: trying {url}", file=sys.stderr, flush=True)
    return ""


def get(url: str, path: Path, part: Path) -> str:
    """Fill ``part`` from the address itself, which is returned."""
    if url.startswith("apt:"):
        apt_download(url.removeprefix("apt:"), path, part)
        return url
    try:
        download(url, part)
    except Missing as error:
        raise UserError(f"{url}: {error}: check the address, or set DATA_MIRROR") from None
    return url


def fetch(url: str, path: Path, checksum: Checksum | None) -> None:
    """Bring the file from the mirror or its address unless it is there; it verifies."""
    part, mirror = path.with_name(path.name + ".part"), os.environ.get("DATA_MIRROR", "")
    with one_at_a_time(path.parent):
        if path.exists():
            verify(path, checksum, str(path), "it is deleted, run again to download it")
            print(f"{path.name}: there already")
            return
        origin = mirror and try_mirror(mirror, url, path, part) or get(url, path, part)
        blame = "run again" if origin == url else "mend the mirror or unset DATA_MIRROR"
        verify(part, checksum, origin, f"{part.name} is deleted, {blame}")
        os.replace(part, path)
        print(f"{path.name}: {size_of(path) / 1e6:,.1f} MB from {origin}")


def pinned(name: str, checksums: Path) -> Checksum:
    """Look a file up in a list as sha256sum makes it in the folder of a mirror."""
    for line in checksums.read_text().splitlines():
        digits, _, entry = line.partition("  ")
        if entry == name:
            return "sha256", digits
    raise UserError(f"{checksums} has no line for {name}: add its sha256")


def parse_args() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("url", metavar="URL", help="of http, https, file or apt")
    parser.add_argument("path", metavar="FILE", type=Path)
    sums = parser.add_mutually_exclusive_group()
    sums.add_argument("--sha256", metavar="HEX", type=str.lower, help="of the file")
    sums.add_argument("--md5", metavar="HEX", type=str.lower, help="of the file")
    sums.add_argument("--checksums", type=Path, help="a list of sha256sum, HOST/PATH for names")
    args = parser.parse_args()
    if not args.url.startswith(("http://", "https://", "file://", "apt:")):
        parser.error(f"{args.url!r} is no address: begin it with http, https, file or apt")
    return args


def run(args: argparse.Namespace) -> None:
    checksum = ("sha256", args.sha256) if args.sha256 else ("md5", args.md5) if args.md5 else None
    if args.checksums:
        checksum = pinned(names_of(args.url, args.path)[0], args.checksums)
    fetch(args.url, args.path, checksum)


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
