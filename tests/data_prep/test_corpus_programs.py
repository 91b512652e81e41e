"""The small programs of data-prep: check, filter, subword, summary."""

import json
import os
import random
import subprocess
import sysconfig
from argparse import Namespace
from types import SimpleNamespace

import filter
import pytest
import subword
from corpora import fails, run, sha256, succeeds, tree
from stages import UserError

# What Python would take for the end of a line, other than "\n".
ODD = "one\u2028two\x85three\rfour\x0bfive\x1csix"


def write(path, *lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


@pytest.fixture
def pair(tmp_path):
    source = write(tmp_path / "train.en", "a b c", ODD, "", "a b c d")
    return source, write(tmp_path / "train.de", "eins", "zwei", "drei", ODD)


def test_check_counts_lines_as_wc_does(pair):
    assert succeeds(run("check.py", *pair, pair[0])) == ""


def test_check_takes_a_last_line_without_its_end_for_a_line(pair):
    pair[1].write_bytes(pair[1].read_bytes().removesuffix(b"\n"))
    succeeds(run("check.py", *pair))


def test_check_names_unequal_counts(pair):
    write(pair[1], "eins", "zwei", "drei")
    counts = f"{pair[0]} has 4 lines but {pair[1]} has 3"
    fails(run("check.py", *pair), f"{counts}: delete both and make them again")


def test_check_names_what_is_not_utf8(pair):
    pair[1].write_bytes(b"eins\nzw\xe9i\ndrei\nvier\n")
    place = f"{pair[1]}, line 2, byte 3: not UTF-8 (invalid continuation byte)"
    fails(run("check.py", *pair), f"{place}: convert the file to UTF-8")


def test_check_names_a_missing_file(pair):
    gone = pair[0].with_name("none")
    wanted = f"{gone}: No such file or directory: check that it can be read and written"
    fails(run("check.py", pair[0], gone), wanted)


def keep(pair, limit, *more):
    out = pair[0].parent
    moves = [pair[0], out / "en", pair[1], out / "de", *more]
    return run("filter.py", "--max-source-words", limit, pair[0], *moves)


def test_filter_keeps_short_pairs_in_all_files(pair, tmp_path):
    assert succeeds(keep(pair, 3)) == "kept 2 of 4 pairs\n"
    assert (tmp_path / "en").read_bytes() == b"a b c\n\n"
    assert (tmp_path / "de").read_bytes() == b"eins\ndrei\n"
    succeeds(keep(pair, 0))
    assert (tmp_path / "en").read_bytes() == pair[0].read_bytes()
    assert (tmp_path / "de").read_bytes() == pair[1].read_bytes()


def test_filter_writes_a_file_twice(pair, tmp_path):
    twice = [(pair[1], tmp_path / "one"), (pair[1], tmp_path / "two")]
    assert filter.filter_lines(pair[0], twice, 0, 3) == (2, 4)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"eins\ndrei\n"


def test_filter_refuses_files_that_are_not_parallel(pair, tmp_path):
    short = write(tmp_path / "short", "x", "y")
    names = ", ".join(map(str, (*pair, short)))
    wanted = f"not all files reach line 3: {names}: make them parallel"
    fails(keep(pair, 3, short, tmp_path / "new"), wanted)
    assert not any((tmp_path / name).exists() for name in ("en", "de", "new"))


def test_filter_refuses_to_keep_nothing(tmp_path):
    pair = write(tmp_path / "train.en", "a b"), write(tmp_path / "train.de", "a")
    fails(keep(pair, 1), f"--max-source-words 1 leaves none of 1 pairs of {pair[0]}: change it")


def test_filter_wants_pairs_of_files(pair):
    message = "FROM and TO go in pairs, but there are 5 of them: see --help"
    fails(keep(pair, 1, "odd"), message, code=2)
    message = "argument --max-source-words: '-1' is not int from 0 to 1000000: see --help"
    fails(keep(pair, -1), message, code=2)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Two files of words with common parts."""
    folder, generator = tmp_path_factory.mktemp("text"), random.Random(0)
    parts = "ba be bi bo bu ka ke ki ko ku straße café".split()
    for language in ("en", "de"):
        words = ["".join(generator.choices(parts, k=3)) for _ in range(60)]
        lines = [" ".join(generator.choices(words, k=6)) for _ in range(150)]
        write(folder / f"train.{language}", *lines)
    return folder


def learn(text, method, size, model):
    files = [text / "train.en", text / "train.de"]
    return run("subword.py", "learn", "--method", method, "--size", size, model, *files)


def subword_nmt(command, folder):
    """Return the output of a shell command that runs subword-nmt's own program."""
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-c", command]
    return subprocess.run(command, cwd=folder, env={"PATH": path}, capture_output=True).stdout


def test_byte_pairs_are_those_of_subword_nmt(text, tmp_path):
    succeeds(learn(text, "subword-nmt", 80, tmp_path / "model"))
    theirs = subword_nmt("cat train.en train.de | subword-nmt learn-bpe -s 80", text)
    assert len(theirs.splitlines()) == 81 and (tmp_path / "model").read_bytes() == theirs
    (text / "codes").write_bytes(theirs)
    done = run(
        *("subword.py", "apply", "--method", "subword-nmt", tmp_path / "model"),
        stdin=(text / "train.de").read_bytes(),
    )
    assert done.stdout == subword_nmt("subword-nmt apply-bpe -c codes <train.de", text) != b""
    assert tree(tmp_path) == ["model"]


def test_byte_pairs_keep_odd_lines_whole(text, tmp_path):
    succeeds(learn(text, "subword-nmt", 20, tmp_path / "model"))
    done = run(
        *("subword.py", "apply", "--method", "subword-nmt", tmp_path / "model"),
        stdin=f"ba be\n{ODD}\n\nku".encode(),
    )
    lines = done.stdout.split(b"\n")
    assert len(lines) == 4 and lines[1].replace(b"@@ ", b"") == ODD.encode()


def test_pieces_join_to_the_sentence(text, tmp_path):
    for name in ("model", "again"):
        succeeds(learn(text, "sentencepiece", 60, tmp_path / name))
    assert sha256(tmp_path / "model") == sha256(tmp_path / "again")
    sentences = [*(text / "train.de").read_text().splitlines(), "ba  be\u2028ki", "", "Été ½ …"]
    done = run(
        *("subword.py", "apply", "--method", "sentencepiece", tmp_path / "model"),
        stdin="".join(f"{line}\n" for line in sentences).encode(),
    )
    lines = done.stdout.decode().removesuffix("\n").split("\n")
    joined = [line.replace(" ", "").replace("▁", " ").strip() for line in lines]
    assert joined == [" ".join(line.split()) for line in sentences]
    assert len(lines[0].split()) > len(sentences[0].split())


def test_sizes_that_do_not_suit_the_text(text, tmp_path):
    done = learn(text, "sentencepiece", 9999, tmp_path / "model")
    begin = "error: --size 9999 does not suit the text: Vocabulary size too high (9999)"
    assert done.returncode == 1 and done.stderr.startswith(begin)
    assert done.stderr.count("\n") == 1
    write(tmp_path / "train.en", "a")
    write(tmp_path / "train.de", "b")
    message = "--size 5 is too high for so little text: lower it"
    fails(learn(tmp_path, "subword-nmt", 5, tmp_path / "model"), message)
    assert not (tmp_path / "model").exists()


NO_TEXT = "line 2, byte 4: not UTF-8 (invalid continuation byte): convert the file to UTF-8"


@pytest.mark.parametrize("method", subword.METHODS)
def test_subwords_of_what_is_no_text(method, tmp_path, monkeypatch):
    bad = tmp_path / "text"
    bad.write_bytes(b"fine\ncaf\xe9\n")
    args = Namespace(command="learn", method=method, size=9, symbol=[], model=tmp_path / "model")
    args.files = [bad]
    with pytest.raises(UserError) as error:
        subword.run(args)
    assert str(error.value) == f"{bad}, {NO_TEXT}"
    assert os.listdir(tmp_path) == ["text"]
    monkeypatch.setattr(subword, "load_model", lambda path, method: str.upper)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=bad.open("rb")))
    args.command = "apply"
    with pytest.raises(UserError) as error:
        subword.run(args)
    assert str(error.value) == f"standard input, {NO_TEXT}"


@pytest.mark.parametrize("content", [b"", b"three words here\n", b"#version: x\na b\n", b"\xff"])
@pytest.mark.parametrize("method", subword.METHODS)
def test_what_is_no_model_of_subwords(method, content, tmp_path, capfd):
    model = tmp_path / "model"
    model.write_bytes(content)
    with pytest.raises(UserError) as error:
        subword.load_model(model, method)
    what = f"not a {method} model" if content else "empty"
    advice = f"make it with subword.py learn --method {method}"
    assert str(error.value) == f"{model} is {what}: {advice}"
    assert capfd.readouterr().err == ""


@pytest.fixture
def corpus(tmp_path):
    for folder in ("raw", "bpe", "bin"):
        (tmp_path / folder).mkdir()
    for split in ("train", "valid", "test"):
        write(tmp_path / "raw" / f"{split}.en", "a b", " ".join("a" * 40))
        write(tmp_path / "raw" / f"{split}.es", "x", "y")
        write(tmp_path / "bpe" / f"{split}.en", "a@@ a b", "a")
        write(tmp_path / "bpe" / f"{split}.es", "x", "y@@ z")
    for language in ("en", "es"):
        write(tmp_path / "bin" / f"dict.{language}.txt", "a 1", "b 1")
    content = {"corpus": "toy", "source": "en", "target": "es", "tests": ["test"]}
    (tmp_path / "corpus.json").write_text(json.dumps(content))
    return tmp_path


def test_summary(corpus):
    lines = succeeds(run("summary.py", corpus)).splitlines()
    assert lines[0].split("  ")[-1].strip() == "es subwords"
    assert lines[3].split() == ["test", "2", "21.0", "1", "4", "3"]
    assert lines[4] == "dictionary: en 6, es 6 symbols"
    found = json.loads((corpus / "summary.json").read_text())
    assert found["splits"]["train"] == {
        "pairs": 2,
        "source_words": 21.0,
        "long_pairs": 1,
        "subwords": {"en": 4, "es": 3},
    }


def test_summary_of_a_damaged_corpus(corpus):
    (corpus / "corpus.json").write_text('{"corpus": ')
    wanted = f"{corpus}/corpus.json is damaged: delete it and prepare again"
    fails(run("summary.py", corpus), wanted)
