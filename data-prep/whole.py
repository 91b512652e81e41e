"""Files and folders that are made whole or not at all.

Until they are, they lie beside their place as .NAME.xxxxxxxx.part, a name that nobody can foresee
and that is not there before. An error removes them, and so do the signals that ask for an end.

The package has its own (fairseq_floater/files.py), for what must be on the disk before a training
goes on; with it each of these programs would import torch, which takes longer than most of them.
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
    """A file to write, which takes the place of ``path`` at the end unless there is an error."""
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
    """A folder to fill, which takes the place of ``folder``, empty or none, at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = _beside(folder)
    try:
        part.mkdir()
        yield part
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
