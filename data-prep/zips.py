"""Read files of a zip archive within the bounds of bounds.py; none is extracted as it is."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from bounds import MOST, Bounded, Excess
from progress import Progress
from stages import UserError


@contextmanager
def opened_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; damage that is found while it is read becomes a one-line error."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            yield zipped
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{archive} is damaged ({error}): delete it and run again") from None
    except Excess as error:
        raise UserError(f"{archive}: {error}: get the archive from its publisher") from None


def copy_member(zipped: zipfile.ZipFile, name: str, out: BinaryIO) -> None:
    """Write a file of the archive to ``out``.

    Raises:
        UserError: if there is no file of this name, or too much would come out.
    """
    archive = Path(str(zipped.filename))
    try:
        file = zipped.open(name)
    except KeyError:
        raise UserError(f"{archive} has no {name}: get another version") from None
    with file:
        bounded = Bounded(file, archive.stat().st_size, MOST, Progress(name))
        shutil.copyfileobj(bounded, out)


def read_member(zipped: zipfile.ZipFile, name: str) -> bytes:
    """Return the content of a file of the archive; raises the same errors as ``copy_member``."""
    content = BytesIO()
    copy_member(zipped, name, content)
    return content.getvalue()
