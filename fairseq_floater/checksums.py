"""Check that a checkpoint is still what was written: torch takes a flipped bit for a weight."""

import errno
import os
import zipfile
from pathlib import Path
from typing import IO, Union

from fairseq_floater.errors import DamagedCheckpoint, NoCheckpoint, UserError, first_line

#: attribute of a folder in an archive; torch would read nothing, and use uninitialised memory
FOLDER = 0x10

#: how many bytes are read at a time
BLOCK = 2**20

#: errors of the machine and its disks, which say nothing about a file
_MACHINE = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT)

#: how torch says that it found more than plain data, rather than no data
_REFUSALS = ("GLOBAL", "unrecognized function", "allowlisted via")

#: how torch says that there is too little memory
_MEMORY = ("allocate memory", "unable to mmap")


def require_intact(path: Path) -> None:
    """Compare all of a checkpoint with the check sums in it, once, before torch reads it.

    A file written by torch before 1.6 has none, nor has one that torch was told to write without.

    Raises:
        DamagedCheckpoint: naming the part of the file that is not as it was written.
        UserError: if it cannot be read, through no fault of its own.
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.
    """
    with path.open("rb") as file:
        try:
            if file.read(4) == b"PK\3\4":
                _require_intact_archive(path, file)
            # else it is in torch's older format, or not a checkpoint: torch says which
        except UserError:
            raise
        except Exception as error:  # zipfile raises errors of every kind for a bad archive
            raise unreadable(path, error) from error


def unreadable(path: Union[Path, str], error: Exception) -> UserError:
    """Return the error to raise if reading a checkpoint fails with ``error``.

    It says that the file is damaged, unless the cause lies in the machine, for example if that has
    too little memory or a failing disk, or the file is whole but holds what could run anything.
    """
    if is_of_the_machine(error):
        return UserError(
            f"checkpoint {path} could not be read, but may be intact "
            f"({first_line(error)}): free some memory, or check the disk, and run again"
        )
    if is_refusal(error):
        return UserError(
            f"checkpoint {path} holds more than plain data and is refused: load only "
            f"checkpoints that fairseq wrote ({_unsafe_part(error)})"
        )
    return NoCheckpoint(path, first_line(error))


def is_of_the_machine(error: BaseException) -> bool:
    """True if an error says nothing about a file: too little memory, or a failing disk."""
    known = isinstance(error, MemoryError) or getattr(error, "errno", None) in _MACHINE
    return known or any(mark in str(error) for mark in _MEMORY)


def is_refusal(error: BaseException) -> bool:
    """True if torch says that it found more than plain data, of a whole file or a damaged one."""
    return any(mark in str(error) for mark in _REFUSALS)


def _unsafe_part(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line]
    return (lines or [first_line(error)])[-1].strip()[:160]


def _require_intact_archive(path: Path, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        if sum(member.file_size for member in members) > size:
            raise DamagedCheckpoint(path, f"its parts would be larger than its {size:,} bytes")
        summed = any(member.CRC for member in members)
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise DamagedCheckpoint(path, "torch never compresses", member.filename)
            if member.is_dir() or member.external_attr & FOLDER:
                raise DamagedCheckpoint(path, "it says that it is a folder", member.filename)
            if summed:
                _require_sum(path, archive, member)


def _require_sum(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    try:
        with archive.open(member) as part:
            while part.read(BLOCK):
                pass
    except zipfile.BadZipFile as error:
        sums = "CRC" in str(error)
        why = f"its {'check sum' if sums else 'header'} shows that it is not what was written"
        raise DamagedCheckpoint(path, why, member.filename) from error
