"""Whether a file is still what was written: torch takes a flipped bit for a weight."""

import os
import zipfile
from pathlib import Path
from typing import IO

from fairseq_floater.errors import DamagedCheckpoint

#: attribute of a folder in an archive; torch would read nothing, and take memory as it is
FOLDER = 0x10

#: bytes that are read at a time
BLOCK = 2**20


def require_intact(path: Path) -> None:
    """Compare all of a checkpoint with the check sums in it, once, before torch reads it.

    A file of torch's before 1.6 has none, nor has one that torch was told to write without.

    Raises:
        DamagedCheckpoint: naming the part of the file that is not as it was written.
        Exception: of several kinds, if it is no whole archive.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\3\4":
            _require_intact_archive(path, file)
        # else it is in torch's older format, or no checkpoint: torch says which


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
        why = f"it is not what was written, by its {'check sum' if sums else 'header'}"
        raise DamagedCheckpoint(path, why, member.filename) from error
