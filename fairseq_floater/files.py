"""Files that are written whole or not at all, and never over what they are made from."""

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
from typing import Any, BinaryIO, Iterator, Optional, Set, Tuple

from safetensors import SafetensorError

from fairseq_floater.errors import UserError, first_line

#: end of the names of files that are being written; they begin with a dot
PART = ".part"

#: those names, with that of the file
_PARTS = re.compile(rf"\.(.+)\.[0-9a-f]{{16}}{re.escape(PART)}", re.DOTALL)


@contextmanager
def written_whole(path: Path, through_links: bool = True) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once it is complete, or leaves no trace.

    It is written beside ``path`` under a name that nobody can foresee, and is on the disk before
    it is renamed. An existing file keeps its mode; of a symbolic link, the file that it names is
    replaced, or the link itself. An error, and a signal that ends the program, remove what has been
    written so far; where a kill left that, the next to write ``path`` removes it.

    The file never refuses to be written to: torch's own code aborts the program where it does. A
    full disk is remembered, and raised at the end.

    Args:
        through_links: replace the file that a symbolic link names, not the link.

    Raises:
        OSError: with the name ``path``, if it cannot be written.
    """
    target = Path(os.path.realpath(path)) if through_links else path
    # The longest name that a folder takes has 255 bytes.
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
        # A full disk does not say which file it had no place for.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Delete what killed programs were writing to ``folder``, or to the file ``name`` in it.

    Whoever writes such a file holds a lock on it, which ends with the program.
    """
    for part in folder.glob(f".*{PART}") if folder.is_dir() else ():
        found = _PARTS.fullmatch(part.name)
        if found and found[1] in (name or found[1],) and part.is_file():
            try:
                with part.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink(missing_ok=True)
            except OSError:  # it is being written, is another user's, or is gone
                pass


def require_other_file(output: Path, *inputs: Path) -> None:
    """Refuse to write a file over one that it is made from, under whatever name.

    Raises:
        UserError: if ``output`` is one of ``inputs``.
    """
    for read in inputs:
        if output.exists() and read.exists() and output.samefile(read):
            same = "" if str(output) == str(read) else f", which is {read}"
            raise UserError(
                f"{output}{same} would be overwritten by what is made from it: give another name "
                "for the file to write"
            )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, or nothing; raises as ``written_whole``."""
    with written_whole(path) as file:
        file.write(text.encode("utf-8"))


def save_picture(figure: Any, picture: Path, dpi: int) -> None:
    """Write a figure of matplotlib's to ``picture``, whose ending chooses the format, or nothing.

    Raises:
        OSError: with the name of the picture, if it cannot be written.
    """
    drawn, kind = io.BytesIO(), picture.suffix[1:]
    # By default a third of all time goes into making a picture a twentieth smaller.
    more = {"pil_kwargs": {"compress_level": 4}} if kind.lower() == "png" else {}
    figure.savefig(drawn, dpi=dpi, format=kind, **more)
    with written_whole(picture) as file:
        file.write(drawn.getbuffer())


class _Patient(io.FileIO):
    """A file that takes whatever it is given, and remembers why it could not keep it."""

    failure: Optional[OSError] = None

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.failure = error
        return len(memoryview(data).cast("B"))


def _written(part: Path, mode: Optional[int]) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    number = os.open(part, flags, 0o666 if mode is None else mode)
    with suppress(OSError):  # some network disks have no locks
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    raw = _Patient(number, "wb")
    with io.BufferedWriter(raw) as file:
        try:
            if mode is not None:
                os.fchmod(number, mode)  # also what the process would mask
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
    """The permissions of a file that is there; None if there is none."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a file to be replaced")
    return stat.S_IMODE(mode)


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk, too, where the folder may be opened; the file is there."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


#: files and folders that are being written, each with the process that writes it
_parts: Set[Tuple[int, Path]] = set()


@contextmanager
def _removed_in_the_end(part: Path) -> Iterator[None]:
    """Remove ``part`` when this is left, or when the process is ended by a signal."""
    mine = (os.getpid(), part)
    _parts.add(mine)
    taken = []
    if threading.current_thread() is threading.main_thread():  # others may not
        # SIGINT raises an exception already, and other handlers than the system's stay.
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
        if process == os.getpid():  # not in a fork of the one that writes
            _remove(part)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which is at ``path`` when all went well, and else nowhere.

    Raises:
        UserError: if there is something at ``path`` already.
        OSError: with the name ``path``, if it cannot be written.
    """
    if os.path.lexists(path):
        raise UserError(f"{path} is there already: choose another folder")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    beside = above / f".{path.name[:40]}.{secrets.token_hex(8)}{PART}"
    try:
        with _removed_in_the_end(beside):
            whole = beside / "whole"
            whole.mkdir(parents=True)
            yield whole
            for written in whole.iterdir():  # some libraries make files for their owner alone
                written.chmod(written.stat().st_mode | (whole.stat().st_mode & 0o444))
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.rename(path)
    except SafetensorError as error:
        raise OSError(errno.EIO, first_line(error), str(path)) from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(beside)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
