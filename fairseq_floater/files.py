"""Files that are written completely or not at all, and never over their own inputs."""

import errno
import fcntl
import io
import os
import re
import secrets
import shutil
import signal
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Optional, Set, Tuple

from safetensors import SafetensorError

from fairseq_floater.errors import UserError, first_line

#: suffix of the names of files that are being written; the names begin with a dot
PART = ".part"

#: such a name, with the name of the file as its group
_PARTS = re.compile(rf"\.(.+)\.[0-9a-f]{{16}}{re.escape(PART)}", re.DOTALL)


@contextmanager
def written_whole(path: Path, through_links: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write that replaces ``path`` once it is complete, or leaves no trace.

    It is written beside ``path`` under an unpredictable name, and is on the disk before it is
    renamed. An existing file keeps its mode. If ``path`` is a symbolic link, either the file that
    it points to is replaced or the link itself. An error, or a signal that ends the program,
    removes what has been written so far. What a killed program leaves behind is removed when
    ``path`` is next written.

    Writing to the file never fails, because torch's own code aborts the program if it does. A full
    disk is remembered, and raised at the end.

    Args:
        through_links: replace the file that a symbolic link points to, not the link itself.

    Raises:
        OSError: naming ``path``, if it cannot be written.
    """
    target = Path(os.path.realpath(path)) if through_links else path
    # The longest name that a file can have is 255 bytes.
    name = os.fsdecode(os.fsencode(target.name)[:200])
    part = target.with_name(f".{name}.{secrets.token_hex(8)}{PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, name)
        mode = _mode(target)
        with _removed_in_the_end(part):
            yield from _written(part, mode)
            os.replace(part, target)
        _sync_folder(target.parent)
    except OSError as error:
        if error.filename not in (None, str(part)):
            raise
        # The error of a full disk does not say which file it was about.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Delete what killed programs left unfinished in ``folder``, or only what is called ``name``.

    A program that is writing such a file or folder holds a lock on it, which ends with the program.
    """
    for part in folder.glob(f".*{PART}") if folder.is_dir() else ():
        found = _PARTS.fullmatch(part.name)
        if found and (not name or found[1] == name) and (part.is_file() or part.is_dir()):
            # It may be being written, be another user's, or be gone.
            with suppress(OSError), _open(part, os.O_RDONLY) as number:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(part)


def require_other_file(output: Path, *inputs: Path) -> None:
    """Refuse to write a file over one that it is made from, even under another name.

    Raises:
        UserError: if ``output`` is one of ``inputs``.
    """
    for read in inputs:
        if output.exists() and read.exists() and output.samefile(read):
            same = "" if str(output) == str(read) else f", which is {read}"
            raise UserError(
                f"{output}{same} would be overwritten by what is made from it: give another name "
                "for the output file"
            )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, or nothing; raises what ``written_whole`` does."""
    with written_whole(path) as file:
        file.write(text.encode("utf-8"))


def save_picture(figure: Any, picture: Path, dpi: int) -> None:
    """Write a matplotlib figure to ``picture``, or nothing; its suffix chooses the format.

    Raises:
        OSError: naming the picture, if it cannot be written.
    """
    drawn, kind = io.BytesIO(), picture.suffix[1:]
    # By default, a third of the time is spent on making the picture a twentieth smaller.
    more = {"pil_kwargs": {"compress_level": 4}} if kind.lower() == "png" else {}
    figure.savefig(drawn, dpi=dpi, format=kind, **more)
    with written_whole(picture) as file:
        file.write(drawn.getbuffer())


class _Patient(io.FileIO):
    """A file whose writes never fail; it remembers the first error instead."""

    failure: Optional[OSError] = None

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.failure = error
        return len(memoryview(data).cast("B"))


def _locked(part: Path, made: Callable[[], int]) -> int:
    """Make ``part``, lock it and return its descriptor, which ``made`` gives."""
    while True:
        number = made()
        with suppress(OSError):  # some network disks have no locks
            fcntl.flock(number, fcntl.LOCK_EX)  # which one that removes leftovers may hold
        if part.exists():
            return number
        os.close(number)  # another program took it for a leftover before it was locked


def _written(part: Path, mode: Optional[int]) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    number = _locked(part, lambda: os.open(part, flags, 0o666 if mode is None else mode))
    raw = _Patient(number, "wb")
    with io.BufferedWriter(raw) as file:
        try:
            if mode is not None:
                os.fchmod(number, mode)  # including bits that the umask would clear
            yield file
            file.flush()
        except Exception as error:
            if raw.failure is None:
                raise
            raise raw.failure from error
        if raw.failure is not None:
            raise raw.failure
        os.fsync(number)


def _mode(target: Path) -> Optional[int]:
    """Return the permissions of the file, or None if there is no file."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file that can be replaced")
    return stat.S_IMODE(mode)


@contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, if the folder can be opened; the file is there already."""
    with suppress(OSError), _open(folder, os.O_RDONLY | os.O_DIRECTORY) as number:
        os.fsync(number)


#: files and folders that are being written, each with the process that writes it
_parts: Set[Tuple[int, Path]] = set()


@contextmanager
def _removed_in_the_end(part: Path) -> Iterator[None]:
    """Remove ``part`` on leaving the block, or when a signal ends the process."""
    mine = (os.getpid(), part)
    _parts.add(mine)
    taken = []
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        # Only the system's handlers are replaced; Python's for SIGINT raises an exception already.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _remove_and_end)
                taken.append(number)
    try:
        yield
    finally:
        _remove(part)
        _parts.discard(mine)
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)


def _remove_and_end(number: int, frame: Any) -> None:
    for process, part in list(_parts):
        if process == os.getpid():  # not in a fork of the process that writes
            _remove(part)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder, which must not exist, and hold a lock on it."""

    def made() -> int:
        folder.mkdir()
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    number = _locked(folder, made)
    try:
        yield
    finally:
        os.close(number)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which is moved to ``path`` if all goes well, else removed.

    Its files are on the disk before it is moved. What a killed program leaves behind is removed
    when ``path`` is next written.

    Raises:
        UserError: if there is something at ``path`` already.
        OSError: naming ``path``, if it cannot be written.
    """
    if os.path.lexists(path):
        raise UserError(f"{path} already exists: choose another folder")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    name = path.name[:40]
    beside = above / f".{name}.{secrets.token_hex(8)}{PART}"
    try:
        remove_leftovers(above, name)
        with _removed_in_the_end(beside), _made(beside):
            whole = beside / "whole"
            whole.mkdir()
            yield whole
            for written in whole.iterdir():  # some libraries make files private to their owner
                written.chmod(written.stat().st_mode | (whole.stat().st_mode & 0o444))
                with _open(written, os.O_RDONLY) as number:
                    os.fsync(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.rename(path)
            _sync_folder(path.parent)
    except SafetensorError as error:
        raise OSError(errno.EIO, first_line(error), str(path)) from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(beside)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
