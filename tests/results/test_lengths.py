"""Test sentences by length: in words, and in subwords relative to those of training."""

import pytest

from fairseq_floater.errors import UserError
from fairseq_floater.results.generation import Translation
from fairseq_floater.results.lengths import (
    by_subwords,
    by_words,
    parse_edges,
    parse_relative,
    training_length,
)
from fairseq_floater.results.record import Record
from fairseq_floater.results.report import report
from fairseq_floater.results.scores import EvaluationSet, score


def of_length(*lengths):
    return [" ".join(["x"] * length) for length in lengths]


def write(path, lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def data(tmp_path):
    """2,000 training sentences of up to 10 subwords, except for two of 11 and of 90."""
    write(tmp_path / "bpe/train.en", of_length(*[7] * 1000, *[10] * 998, 11, 90))
    write(tmp_path / "bpe/test.en", of_length(11, 3, 12, 14, 18, 19, 40))
    return tmp_path


def test_the_few_longest_training_sentences_do_not_count(data):
    assert training_length([1] * 999 + [50]) == 1
    assert training_length([1] * 998 + [50] * 2) == 50
    bins = dict(by_subwords(data, "en", "test", [1, 1.33, 1.66]))
    # 1,998 of 2,000 sentences, which is 99.9 %, have at most 10 subwords.
    assert bins == {"<= 10": [1], "11-13": [0, 2], "14-17": [3], "> 17": [4, 5, 6]}


def test_every_sentence_is_in_one_bin():
    bins = dict(by_words(of_length(0, 1, 3, 4, 5, 80), [3, 4]))
    assert bins == {"<= 3": [0, 1, 2], "4": [3], "> 4": [4, 5]}


def test_a_report_shows_both(data):
    source = of_length(2, 2, 2, 8, 8, 8, 8)
    reference = [f"w{n} w{n + 1} w{n + 2} w{n + 3} w{n + 4}" for n in range(7)]
    translations = [Translation(line, 5, True) for line in reference]
    test = EvaluationSet(source, reference, None, "en", lowercase=False)
    sorted_by = [by_words(source, [4]), by_subwords(data, "en", "test", [1, 1.33, 9])]
    record = Record("table", "en-de", "ours", 0, 1, {}, {}, {})
    record.tests["test"] = score(translations, test, sorted_by)
    assert {k: v["sentences"] for k, v in record.bins("test").items()} == {"<= 4": 3, "> 4": 4}
    counts = {k: v["sentences"] for k, v in record.bins("test", "subwords").items()}
    assert counts == {"<= 10": 1, "11-13": 2, "14-90": 4}  # without the empty bin
    record.write(data)
    report(data, data / "table")
    page = (data / "table.md").read_text()
    assert "| test: source words | ≤ 4 (3 pairs) | > 4 (4 pairs) |" in page
    assert "| test: source subwords | ≤ 10 (1 pairs) | 11-13 (2 pairs) | 14-90 (4 pairs) |" in page
    assert page.count("| ours: BLEU | 100.0 |") == 2


def test_a_bin_whose_references_are_empty(tmp_path):
    source, reference = ["a b", "a b c d e"], ["x y", ""]
    test = EvaluationSet(source, reference, None, "en", lowercase=False)
    translations = [Translation("x y", 2, True)] * 2
    record = Record("table", "en-de", "ours", 0, 1, {}, {}, {})
    record.tests["test"] = score(translations, test, [by_words(source, [3])])
    assert [part["sentences"] for part in record.tests["test"]["bins"]] == [1, 1]
    record.write(tmp_path)
    report(tmp_path, tmp_path / "table")
    assert "| ours: length ratio | 1.00 |  |" in (tmp_path / "table.md").read_text()


def test_edges():
    assert parse_edges("") == [] and parse_edges("3,5") == [3, 5]
    for bad in ("5,3", "0,2", "a", "3,3", "²"):
        with pytest.raises(UserError, match="rising whole numbers"):
            parse_edges(bad)
    assert parse_relative("") == [] and parse_relative("1,1.5") == [1.0, 1.5]
    for bad in ("2,1", "0,1", "a", "1,1", "nan", "1,inf"):
        with pytest.raises(UserError, match="rising numbers such as 1,1.33"):
            parse_relative(bad)
