"""What cannot be read: no sentences, or bytes that are no text."""

import io

import pytest
from fairseq.data import data_utils

from fairseq_floater.errors import UserError
from fairseq_floater.training.corpus import Sentences, checking_text


def test_data_without_sentences(tmp_path):
    for end in ("bin", "idx"):
        (tmp_path / f"train.de-en.de.{end}").touch()
    with pytest.raises(UserError, match="train.de-en.de.bin has no sentences: give"):
        data_utils.load_indexed_dataset(str(tmp_path / "train.de-en.de"), None)


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
