"""The part of a download that has arrived, kept so that a later run can resume from it.

It lies beside the file as FILE.xxxxxxxxxxxxxxxx.part, where the digits are a hash of the address
and the checksum: a part from another address, or for another checksum, has another name. Others may
take a predictable name, so a part must be a regular file of the current user, and only one program
may write to it at a time.
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
    """Return the path of the part of ``path``."""
    bound = "\n".join([url, *(checksum or ())])
    digits = hashlib.sha256(bound.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return path.with_name(f"{path.name}.{digits}.part")


def open_plain(path: Path, flags: int) -> BinaryIO:
    """Open a regular file: not the target of a link, and not a pipe, which could block."""
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path} is a symbolic link: delete it and run again") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path} is not a regular file: delete it and run again") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise UserError(f"{path} is not a regular file: delete it and run again")
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
            while rest:  # an unbuffered file may take less than it is given
                written = self.file.write(rest)
                self.size += written
                rest = rest[written:]
        except OSError as error:  # such as a full disk; the error does not name the file
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def become(self, path: Path) -> None:
        os.fsync(self.file.fileno())
        os.replace(self.path, path)


@contextmanager
def opened(path: Path, url: str, checksum: Checksum | None) -> Iterator[Part]:
    """Open the part of ``path`` that comes from this address.

    Without a checksum, nothing is kept for a later run, because nobody would notice if the rest
    then came from a different file.
    """
    name = name_of(path, url, checksum)
    with open_plain(name, os.O_RDWR | os.O_CREAT) as file:
        found = os.fstat(file.fileno())
        if found.st_nlink != 1 or found.st_uid != os.geteuid():
            raise UserError(f"{name} is a hard link or another user's: delete it and run again")
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
