"""Check the data to train on and the text to translate, and refuse what cannot be used."""

import functools
import struct
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Optional, Type

import numpy as np
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, _code_to_dtype

from fairseq_floater.errors import UserError

#: header of the index of mapped data: mark, version, type of a token, number of sentences
_HEADER = struct.Struct("<9sQBQ")

#: for each sentence, its length in tokens and where it begins, in bytes; all lengths come first
_LENGTH, _BEGIN = struct.Struct("<i"), struct.Struct("<q")


def refusing_useless(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``load_indexed_dataset``, so that unusable data is refused first.

    fairseq itself fails on incomplete files, or fails only later.

    Raises:
        UserError: naming the files, if there are no sentences, if some are missing, or if there
            are words that the dictionary lacks.
    """

    @functools.wraps(load)
    def checked(path: str, dictionary: Any = None, *args: Any, **kwargs: Any) -> Any:
        if Path(f"{path}.bin").is_file() and Path(f"{path}.idx").is_file():
            require_useful(path, dictionary)
        return load(path, dictionary, *args, **kwargs)

    return checked


def require_useful(path: str, dictionary: Optional[Dictionary]) -> None:
    """Raise ``UserError`` unless ``path``.bin has all sentences of ``path``.idx, at least one.

    Every token must be in ``dictionary``, if there is one. Data in another format than fairseq's
    mapped one, which is the default, only has to be non-empty.
    """
    data, index = Path(f"{path}.bin"), Path(f"{path}.idx")
    if not data.stat().st_size:
        raise UserError(f"{data} has no sentences: give fairseq-preprocess a text that has some")
    with index.open("rb") as file:
        if not file.read(9) == MMapIndexedDataset.Index._HDR_MAGIC:
            return
        file.seek(0)
        token = _token_type(file, data.stat().st_size)
    if token is None:
        raise UserError(
            f"{data} and {index} do not belong together, or one of them is incomplete: copy both "
            "again, or run fairseq-preprocess again"
        )
    most = int(np.memmap(data, token, mode="r").max())
    if dictionary is not None and most >= len(dictionary):
        raise UserError(
            f"{data} has words up to number {most:,}, but its dictionary has {len(dictionary):,}: "
            f"copy {data.parent}/dict.*.txt again, or run fairseq-preprocess again"
        )


def _token_type(index: BinaryIO, data_size: int) -> Optional[Type[np.generic]]:
    """Return the type of the tokens if the index is whole and the data is as large as it says."""
    try:
        _, _, code, count = _HEADER.unpack(index.read(_HEADER.size))
        if index.seek(0, 2) != _HEADER.size + count * (_LENGTH.size + _BEGIN.size):
            return None
        index.seek(_HEADER.size + (count - 1) * _LENGTH.size)
        (length,) = _LENGTH.unpack(index.read(_LENGTH.size))
        index.seek(-_BEGIN.size, 2)
        (begin,) = _BEGIN.unpack(index.read(_BEGIN.size))
        token: Type[np.generic] = _code_to_dtype[code]
    except (struct.error, KeyError):
        return None
    return token if data_size == begin + length * token().itemsize else None


class Sentences:
    """Lines of UTF-8, as ``fairseq-interactive`` reads them, that can locate an invalid byte.

    Args:
        binary: the stream to read.
        name: the name of the stream in error messages.

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
                f"{line[error.start]:#04x} is not UTF-8: convert it, for example with iconv"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def fileno(self) -> int:
        return self.binary.fileno()


def checking_text(read: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``buffered_read`` of ``fairseq-interactive`` to check first that a file is all UTF-8.

    Raises:
        UserError: as ``Sentences`` does, before the first sentence is translated.
    """

    @functools.wraps(read)
    def checked(input: str, buffer_size: int) -> Any:
        if Path(input).is_file():
            with open(input, "rb") as binary:
                for _ in Sentences(binary, input):
                    pass
        return read(input, buffer_size)

    return checked
