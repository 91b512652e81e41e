"""What has arrived of a download, kept so that a later run can go on from there.

It is beside the file, as FILE.xxxxxxxxxxxxxxxx.part, where the digits stand for the address and the
checksum: what has come from elsewhere, or is to become something else, has another name. A name
that can be foreseen may be taken by others, so a part must be a plain file of one's own, and only
one program may write to it at a time.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stages import UserError

Checksum = tuple[str, str]  # algorithm and hexadecimal digits


def name_of(path: Path, url: str, checksum: Checksum | None) -> Path:
    """Where what has come of ``path`` lies."""
    bound = "\n".join([url, *(checksum or ())])
    digits = hashlib.sha256(bound.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return path.with_name(f"{path.name}.{digits}.part")


def open_plain(path: Path, flags: int) -> BinaryIO:
    """Open a plain file, not what a link names, and not a pipe, on which one waits."""
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path} is a symbolic link: delete it and run again") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path} is no plain file: delete it and run again") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} is no plain file: delete it and run again")
    return open(number, "r+b" if flags & os.O_RDWR else "rb", buffering=0)


class Part:
    """An open part of the file called ``name``; ``size`` bytes of it have arrived."""

    def __init__(self, name: str, path: Path, file: BinaryIO) -> None:
        self.name, self.path, self.file = name, path, file
        self.size = file.seek(0, os.SEEK_END)

    def restart(self) -> None:
        self.file.truncate(0)
        self.size = self.file.seek(0)

    def write(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:  # a file without a buffer may take less than it is given
                written = self.file.write(rest)
                self.size += written
                rest = rest[written:]
        except OSError as error:  # such as a full disk, which does not say of which file
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def become(self, path: Path) -> None:
        os.fsync(self.file.fileno())
        os.replace(self.path, path)


@contextmanager
def opened(path: Path, url: str, checksum: Checksum | None) -> Iterator[Part]:
    """The part of ``path`` that comes from this address.

    Without a checksum nobody would notice where another file goes on in the middle of the first,
    so nothing is kept for a later run then.
    """
    name = name_of(path, url, checksum)
    with open_plain(name, os.O_RDWR | os.O_CREAT) as file:
        found = os.fstat(file.fileno())
        if found.st_nlink != 1 or found.st_uid != os.geteuid():
            raise UserError(f"{name} is another file, or another user's: delete it and run again")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{name} is being written: wait for the other program") from None
        part = Part(path.name, name, file)
        if not checksum:
            part.restart()
        try:
            yield part
        finally:
            if not (checksum and part.size):
                name.unlink(missing_ok=True)
