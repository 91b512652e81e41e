"""Write checkpoints whole or not at all, no matter when a training is killed."""

import functools
import io
import shutil
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import torch
from fairseq.file_io import PathManager

from fairseq_floater.errors import UserError
from fairseq_floater.files import written_whole
from fairseq_floater.training.save_folder import what_is_left


def saving_whole(save: Callable[..., None]) -> Callable[..., None]:
    """Wrap fairseq's ``torch_persistent_save``, so that a file is always a whole checkpoint.

    fairseq also writes beside the file first, but always under the same name, and leaves an
    incomplete file there; if the disk is full, it tries again, appending to what it has written.
    """

    @functools.wraps(save)
    def save_whole(obj: Any, filename: Any, async_write: bool = False) -> None:
        if async_write or not _is_local(filename):
            return save(obj, filename, async_write=async_write)
        # Someone who links checkpoint_last.pt to an earlier one does not want that one replaced.
        path = Path(filename)
        with _explaining_writes(filename), written_whole(path, through_links=False) as file:
            torch.save(obj, file)

    return save_whole


def copying_whole(copy: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``PathManager.copy``, which makes ``checkpoint_last.pt`` from another."""

    @functools.wraps(copy)
    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        if not overwrite or not _is_local(src_path) or not _is_local(dst_path):
            return copy(src_path, dst_path, overwrite=overwrite)
        with _explaining_writes(dst_path):
            copy_checkpoint(Path(src_path), Path(dst_path))
        return dst_path

    return copy_whole


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a file whole or, if that fails, not at all; a link at ``target`` is replaced."""
    with _Source(source) as whole, written_whole(target, through_links=False) as file:
        shutil.copyfileobj(whole, file, 2**20)


class _Source(io.FileIO):
    """A file to copy; an error in reading it is not blamed on the file that is written."""

    def __init__(self, path: Path):
        with _explaining_reads(path):
            super().__init__(path)

    def read(self, size: Optional[int] = -1) -> Any:
        with _explaining_reads(self.name):
            return super().read(-1 if size is None else size)


def _is_local(filename: Any) -> bool:
    return isinstance(filename, str) and not PathManager.path_requires_pathmanager(filename)


def _explaining_reads(path: Any) -> AbstractContextManager[None]:
    return _explaining(path, "read", lambda: "check it and its disk, and run again")


def _explaining_writes(filename: str) -> AbstractContextManager[None]:
    """Report a failed write, as on a full disk, with what is left to resume from."""
    return _explaining(
        filename,
        "written",
        lambda: (
            "free some space, or check the folder, and run again "
            f"({what_is_left(Path(filename).parent)})"
        ),
    )


@contextmanager
def _explaining(path: Any, done: str, fix: Callable[[], str]) -> Iterator[None]:
    """Report a failure in one line: ``path`` cannot be ``done``, and its ``fix``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be {done}: {error.strerror or error}: {fix()}") from error
