"""moses.py and clean.py, compared with Moses's Perl scripts on lines chosen to be difficult.

tests/moses/lines.jsonl has [language, steps, line, output] in every line. The output is that of
the scripts named in moses.py (mosesdecoder's master of February 2025, Perl 5.36), run one after the
other. pairs.json has pairs of source and target, and those that clean-corpus-n.perl keeps.
"""

import io
import json
import subprocess
import sys
from argparse import Namespace
from itertools import groupby

import moses
import pytest
from corpora import environment, fails, run, succeeds
from places import PREP, TESTS

MADE = TESTS / "moses"
ROWS = [json.loads(line) for line in (MADE / "lines.jsonl").read_text("utf-8").splitlines()]
CASES = {key: list(rows) for key, rows in groupby(ROWS, lambda row: tuple(row[:2]))}


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_lines_are_as_moses_makes_them(case):
    steps = moses.make_steps(case[0], tuple(case[1].split()))
    for _, _, line, wanted in CASES[case]:
        got = line
        for step in steps:
            got = step(got)
        assert got == wanted, line


def bytes_of(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def test_the_filter_keeps_lines_whole_and_in_order():
    """It does so with any number of workers; U+2028 and similar characters do not end a line."""
    rows = [row for row in ROWS if row[:2] == ["en", "tokenise"]] * 150
    lines, wanted = bytes_of(row[2] for row in rows), bytes_of(row[3] for row in rows)
    for workers in (1, 3):
        options = ("--language", "en", "--workers", workers, "tokenise")
        assert succeeds(run("moses.py", *options, stdin=lines)) == wanted


def test_a_last_line_without_its_end_gets_one():
    done = run("moses.py", "--language", "de", "lowercase", stdin="A\nÄ".encode())
    assert succeeds(done) == "a\nä\n".encode()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_line_that_is_not_utf8(workers):
    lines = b"fine\n" * 4500 + b"caf\xe9\n"
    done = run("moses.py", "--language", "fr", "--workers", workers, "lowercase", stdin=lines)
    assert done.returncode == 1
    place = b"error: standard input, line 4501, byte 4: not UTF-8 (invalid continuation byte)"
    assert done.stderr == place + b": convert the file to UTF-8\n"


def test_unknown_languages_and_steps():
    done = run("moses.py", "--language", "fi", "tokenise", stdin="")
    choices = "'cs', 'de', 'en', 'es', 'fr'"
    wanted = f"argument --language: invalid choice: 'fi' (choose from {choices}): see --help"
    fails(done, wanted, code=2)
    done = run("moses.py", "--language", "en", "truecase", stdin="")
    assert done.returncode == 2 and "invalid choice: 'truecase'" in done.stderr
    assert done.stderr.count("\n") == 1


class Endless(io.RawIOBase):
    """Two million lines; ``most`` is the largest number of them that were read but not written."""

    def __init__(self):
        self.read_lines, self.most = 0, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.read_lines += 1
        if self.read_lines > 2_000_000:
            raise StopIteration
        return b"Line\n"


class Sink:
    """Stops the filter when it has written ten chunks."""

    def __init__(self, source):
        self.source, self.written = source, 0

    def write(self, text):
        self.written += text.count(b"\n")
        self.source.most = max(self.source.most, self.source.read_lines - self.written)
        if self.written >= 10 * moses.CHUNK:
            raise StopIteration


def test_few_chunks_are_in_memory():
    source = Endless()
    args = Namespace(language="en", workers=2, steps=["lowercase"])
    with pytest.raises(StopIteration):
        moses.run(source, Sink(source), args)
    assert source.most <= 5 * moses.CHUNK


def test_a_reader_that_goes_away():
    """As in `moses.py ... | head`."""
    command = f"yes A | {sys.executable} {PREP}/moses.py --language en lowercase | head -n 1"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=environment(), timeout=60
    )
    assert done.stdout == "a\n" and "Traceback" not in done.stderr


@pytest.fixture
def pairs(tmp_path):
    """The pairs of pairs.json as the files a and b."""
    made = json.loads((MADE / "pairs.json").read_text("utf-8"))
    for side, name in enumerate("ab"):
        (tmp_path / name).write_bytes(bytes_of(pair[side] for pair in made["pairs"]))
    return tmp_path, made


def clean(folder, *more):
    files = [folder / name for name in ("a", "b", "out.a", "out.b")]
    return run("clean.py", *files, *more, "--max", 12, "--ratio", 1.5)


def test_pairs_are_kept_as_moses_keeps_them(pairs):
    folder, made = pairs
    (folder / "number").write_bytes(bytes_of(range(len(made["pairs"]))))
    done = succeeds(clean(folder, folder / "number", folder / "kept", folder / "a", folder / "c"))
    assert done == f"kept {len(made['kept'])} of {len(made['pairs'])} pairs\n"
    numbers = [int(number) for number in (folder / "kept").read_text().splitlines()]
    for side, name in enumerate("ab"):
        wanted = bytes_of(pair[side] for pair in made["kept"])
        assert (folder / f"out.{name}").read_bytes() == wanted
    verbatim = bytes_of(made["pairs"][number][0] for number in numbers)
    assert (folder / "c").read_bytes() == verbatim
    assert not list(folder.glob("*.part"))


def test_faults_of_pairs(pairs):
    folder, made = pairs
    limits = "--min 1 --max 12 --ratio 1.5"
    (folder / "b").write_bytes(b"one\n")
    wanted = f"not all files reach line 2: {folder}/a, {folder}/b: make them parallel"
    fails(clean(folder), wanted)
    (folder / "a").write_bytes(b"one two\n")
    left = f"{limits} leave none of 1 pairs of {folder}/a: widen them"
    fails(clean(folder), left)
    (folder / "a").write_bytes(b"caf\xe9\n")
    wrong = "not UTF-8 (invalid continuation byte): convert the file to UTF-8"
    fails(clean(folder), f"{folder}/a, line 1, byte 4: {wrong}")
    pairing = "FROM and TO go in pairs, but there are 1 of them: see --help"
    fails(clean(folder, folder / "b"), pairing, code=2)
