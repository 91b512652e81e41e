"""What is read to train on or to translate: refused where nothing can be made of it."""

import functools
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator

from fairseq_floater.errors import UserError


def refusing_empty(load: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's ``load_indexed_dataset``, which fails on a file without sentences.

    Raises:
        UserError: naming the file.
    """

    @functools.wraps(load)
    def checked(path: str, *args: Any, **kwargs: Any) -> Any:
        data = Path(f"{path}.bin")
        if data.is_file() and data.stat().st_size == 0:
            raise UserError(
                f"{data} has no sentences: give fairseq-preprocess a text that has some"
            )
        return load(path, *args, **kwargs)

    return checked


class Sentences:
    """Lines of UTF-8, as ``fairseq-interactive`` reads them, where each byte is known.

    Args:
        binary: what is read.
        name: what it is called in an error.

    Raises:
        UserError: for a line that is not UTF-8, with its number and that of the byte, from 1.
    """

    def __init__(self, binary: BinaryIO, name: str):
        self.binary, self.name, self.number = binary, name, 0

    def readline(self, *size: int) -> str:
        self.number += 1
        line = self.binary.readline(*size)
        try:
            return line.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.name}, line {self.number}, byte {error.start + 1}: "
                f"{line[error.start]:#04x} is not UTF-8: convert it, such as with iconv"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def fileno(self) -> int:
        return self.binary.fileno()


def checking_text(read: Callable[..., Any]) -> Callable[..., Any]:
    """``buffered_read`` of ``fairseq-interactive``, for a file that is all UTF-8.

    Raises:
        UserError: as ``Sentences``, before the first sentence is translated.
    """

    @functools.wraps(read)
    def checked(input: str, buffer_size: int) -> Any:
        if Path(input).is_file():
            with open(input, "rb") as binary:
                for _ in Sentences(binary, input):
                    pass
        return read(input, buffer_size)

    return checked
