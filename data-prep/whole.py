"""Files and folders that are made whole or not at all.

Until they are whole, they lie beside their final place as .NAME.xxxxxxxx.part, a new name that
nobody can predict. An error removes them, and so do the signals that ask the program to end.

The package has its own version (fairseq_floater/files.py) for files that must be on the disk before
a training continues. Using it here would make each of these programs import torch, which takes
longer than most of them run.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def _beside(path: Path) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:200])  # a folder takes names of up to 255 bytes
    return path.with_name(f".{name}.{secrets.token_hex(8)}.part")


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; it takes the place of ``path`` at the end unless there is an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(path)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o666), "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Give a folder to fill; it replaces ``folder``, which is empty or missing, at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(folder)
    try:
        part.mkdir()
        yield part
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
