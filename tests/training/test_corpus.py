"""Data that cannot be read: without sentences, or with bytes that are not text."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from fairseq_floater.errors import UserError
from fairseq_floater.training.corpus import Sentences, checking_text


def test_data_without_sentences(tmp_path):
    for end in ("bin", "idx"):
        (tmp_path / f"train.de-en.de.{end}").touch()
    with pytest.raises(UserError, match="train.de-en.de.bin has no sentences: give"):
        data_utils.load_indexed_dataset(str(tmp_path / "train.de-en.de"), None)


@pytest.fixture
def data(tmp_path):
    """Five sentences, as fairseq-preprocess writes them."""
    path = str(tmp_path / "train.de-en.de")
    builder = MMapIndexedDatasetBuilder(f"{path}.bin", np.uint16)
    for length in range(1, 6):
        builder.add_item(torch.arange(length))
    builder.finalize(f"{path}.idx")
    return path


def test_whole_data_are_read(data, tmp_path):
    words = Dictionary()
    words.add_symbol("word")  # number 4, after fairseq's own
    assert len(data_utils.load_indexed_dataset(data, words)) == 5
    assert data_utils.load_indexed_dataset(str(tmp_path / "none")) is None
    with pytest.raises(UserError, match=f"{data}.bin has words up to number 4, but its dictionary "
                       f"has 4: copy {tmp_path}/dict"):  # fmt: skip
        data_utils.load_indexed_dataset(data, Dictionary())


@pytest.mark.parametrize("end", ["bin", "idx"])
def test_a_part_of_the_data(data, end):
    path = Path(f"{data}.{end}")
    whole = path.read_bytes()
    line = f"^{data}.bin and {data}.idx do not belong together, or one of them is incomplete: copy"
    for size in range(9, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=line):
            data_utils.load_indexed_dataset(data, None)
    path.write_bytes(whole + b"xx")
    with pytest.raises(UserError, match=line):
        data_utils.load_indexed_dataset(data, None)


def test_lines_of_text():
    lines = "ä b\r\n\nlast".encode()
    assert list(Sentences(io.BytesIO(lines), "input")) == ["ä b\n", "\n", "last"]


def test_a_byte_that_is_no_text(tmp_path):
    sentences = Sentences(io.BytesIO(b"a\n\xc3\xa4 \xff b\n"), "standard input")
    assert sentences.readline() == "a\n"
    with pytest.raises(UserError, match="standard input, line 2, byte 4: 0xff is not UTF-8"):
        sentences.readline()
    path = tmp_path / "text"
    path.write_bytes(b"good\n" * 5000 + b"ba\xe4d\n")
    read = checking_text(lambda *arguments: arguments)
    with pytest.raises(UserError, match=f"{path}, line 5001, byte 3: 0xe4 is not UTF-8"):
        read(str(path), 1)
    assert read("-", 1) == ("-", 1)
