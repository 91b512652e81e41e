"""Files that are written whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` once it is complete, or leaves no trace.

    Raises:
        OSError: with the file's name, if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        # A full disk does not say which file it had no place for, and torch hides that it is full.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, cause.filename or str(path)) from error
    finally:
        part.unlink(missing_ok=True)
