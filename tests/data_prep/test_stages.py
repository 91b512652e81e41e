"""Options and stages of the corpus scripts, in a script of a few lines."""

import fcntl
import os
import signal
import subprocess
import time

import pytest
from corpora import environment, fails, succeeds, tree
from places import PREP

SCRIPT = """\
#!/usr/bin/env bash
# Count words.
#
#   --size N   a number
set -euo pipefail
source "{prep}/common.sh"
PREP=$(dirname "$0")
OUT={out} SIZE=2 WORD_KIND=plain
parse_options OUT SIZE WORD_KIND -- "$@"
require_choice WORD_KIND plain odd
require_whole SIZE 1
open_out "$OUT" toy
count() {{
    to_upper "$1"
    false_unless_asked
    python3 "$PREP/count.py" "$SIZE" <"$OUT/upper.part" >"$OUT/count.part"
}}
to_upper() {{
    tr a-z A-Z <"$1" >"$OUT/upper.part"
}}
false_unless_asked() {{
    : # a fault
}}
split() {{
    mkdir "$OUT/parts.part"
    head -n 1 "$OUT/upper" >"$OUT/parts.part/first"
    tail -n 1 "$OUT/upper" >"$OUT/parts.part/last"
}}
stage count {text} -- "$OUT/upper" "$OUT/count" -- count {text}
stage split "$OUT/upper" -- "$OUT/parts" -- split
stage check "$OUT/parts" -- -- test -s "$OUT/parts/first"
"""


class Toy:
    """The script, its one program, its input and its output folder."""

    def __init__(self, folder):
        self.folder, self.out, self.text = folder, folder / "data" / "out", folder / "text"
        self.script, self.program = folder / "toy.sh", folder / "count.py"
        fields = {"prep": PREP, "out": self.out, "text": self.text}
        self.script.write_text(SCRIPT.format(**fields))
        self.program.write_text("import sys\nprint(len(sys.stdin.read()) + int(sys.argv[1]))\n")
        self.text.write_text("one\ntwo\n")

    def run(self, *options):
        command = ["bash", self.script, *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True, env=environment())

    def edit(self, path, old, new):
        content = path.read_text()
        assert old in content
        path.write_text(content.replace(old, new))

    def redone(self, *options):
        """Return the stages that a run does not skip."""
        out = succeeds(self.run(*options))
        assert all(f"{name}: " in out for name in ("count", "split", "check"))
        return [line.partition(":")[0] for line in out.splitlines() if "working" in line]


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy").mkdir()
    return Toy(tmp_path / "toy")


ALL = ["count", "split", "check"]


def test_stages_run_once(toy):
    assert toy.redone() == ALL
    assert (toy.out / "count").read_text() == "10\n"
    assert tree(toy.out) == ["count", "parts/first", "parts/last", "upper"]
    times = {path: path.stat().st_mtime_ns for path in toy.out.rglob("*")}
    assert toy.redone() == []
    assert times == {path: path.stat().st_mtime_ns for path in toy.out.rglob("*")}


def test_variables_of_the_environment_change_no_stage(toy, monkeypatch):
    assert toy.redone() == ALL
    monkeypatch.setenv("SIZE", "9")
    monkeypatch.setenv("SHELLOPTS", "allexport")
    assert toy.redone() == []


def test_a_change_redoes_the_stages_it_concerns(toy):
    assert toy.redone() == ALL
    assert toy.redone("--size", 3) == ["count"]  # the input of split is unchanged
    assert toy.redone("--word-kind", "odd", "--size", 3) == []  # named by no stage
    toy.edit(toy.program, "len(", "2 * len(")
    assert toy.redone("--size", 3) == ["count"]
    toy.edit(toy.script, "tr a-z A-Z", "tr a-y A-Y")  # in a function of a function
    assert toy.redone("--size", 3) == ["count"]
    toy.text.write_text("one\ntwo\nthree\n")
    assert toy.redone("--size", 3) == ALL
    toy.edit(toy.script, "head -n 1", "head -n 2")
    assert toy.redone("--size", 3) == ["split", "check"]


def test_what_a_program_imports_is_part_of_it(toy):
    """This includes imports through another module."""
    near, far = toy.folder / "near.py", toy.folder / "far.py"
    near.write_text("import os\nif os:\n    from far import one\n")
    far.write_text("one = 1\n")
    toy.edit(toy.program, "import sys\n", "import sys\nfrom near import one\n")
    assert toy.redone() == ALL and toy.redone() == []
    toy.edit(far, "1", "2 - 1")
    assert toy.redone() == ["count"]
    (toy.folder / "other.py").write_text("")
    assert toy.redone() == []


def test_a_command_of_floater_is_part_of_what_calls_it(toy):
    """So is everything that it imports of the package, which is found beside the programs."""
    plugin = toy.folder.parent / "fairseq_floater"
    (plugin / "commands").mkdir(parents=True)
    (plugin / "part").mkdir()
    command, part = plugin / "commands/make_it.py", plugin / "part/__init__.py"
    command.write_text("def run():\n    from fairseq_floater.part import make\n")
    part.write_text("make = 1\n")
    toy.edit(toy.script, "    : # a fault", "    true || floater make-it $1")
    assert toy.redone() == ALL and toy.redone() == []
    part.write_text("make = 2 - 1\n")
    assert toy.redone() == ["count"]


def test_what_is_imported_is_found_in_any_folder(tmp_path):
    prep, plugin = tmp_path / "a b/data-prep", tmp_path / "a b/fairseq_floater"
    prep.mkdir(parents=True)
    plugin.mkdir()
    (prep / "x.py").write_text("import json\nfrom y import one  # two\n")
    (prep / "y.py").write_text("from fairseq_floater import errors, files  # noqa\nimport z\n")
    for name in ("errors", "files", "z", "__init__"):
        (plugin / f"{name}.py").write_text("")
    script = f'set -euo pipefail; source "{PREP}/stage.sh"; PREP=$1; imports "$PREP/x.py"'
    found = succeeds(
        subprocess.run(["bash", "-c", script, "bash", prep], capture_output=True, text=True)
    )
    names = {os.path.relpath(line, tmp_path / "a b") for line in found.splitlines()}
    ours = {f"fairseq_floater/{name}.py" for name in ("errors", "files")}
    assert names == {"data-prep/x.py", "data-prep/y.py", *ours}


def test_an_input_may_be_a_link(toy):
    real = toy.text.rename(toy.folder / "real")
    toy.text.symlink_to(real)
    assert toy.redone() == ALL
    assert toy.redone() == []
    real.write_text("three\n")
    assert toy.redone() == ALL
    toy.text.unlink()
    toy.text.symlink_to("/proc/self/mem")  # which cannot be read
    done = toy.run()
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        f"error: not all of {toy.text} can be read, see above: fix that and run again"
    )


def test_an_output_that_changed_or_went_is_made_again(toy):
    assert toy.redone() == ALL
    (toy.out / "parts/last").write_text("mine")
    assert toy.redone() == ["split"]
    (toy.out / "parts/more").write_text("stale")
    assert toy.redone() == ["split"]
    assert not (toy.out / "parts/more").exists()
    (toy.out / "upper").unlink()
    assert toy.redone() == ["count"]
    (toy.out / ".stages/check").unlink()
    assert toy.redone() == ["check"]


def test_a_folder_that_has_moved_is_as_good(toy):
    assert toy.redone() == ALL
    toy.out.rename(toy.out.with_name("moved"))
    assert toy.redone("--out", toy.out.with_name("moved")) == []


def test_two_runs_do_not_share_a_folder(toy):
    """The second waits until the first has ended; after both, there is nothing left to do."""
    toy.out.mkdir(parents=True)
    first = os.open(toy.out, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(["bash", toy.script], env=environment(), **pipes) as second:
        waiting = f"--out {toy.out} is being filled by another run: waiting for it to end\n"
        assert second.stderr.readline() == waiting
        assert list(toy.out.iterdir()) == []
        os.close(first)
        second.communicate()
    assert second.returncode == 0 and toy.redone() == []


@pytest.mark.parametrize("old", ["", "count", "upper"])
def test_a_failing_stage_stops_the_script(toy, old):
    """It fails in the middle of a function, before or after outputs were made."""
    if old:
        toy.redone()
        (toy.out / old).unlink()
    toy.edit(toy.script, ": # a fault", "echo some words; echo 'error: no luck: try again'; false")
    log = toy.out / ".stages/count.log"
    fails(toy.run(), f"count: no luck: try again: see {log}")
    assert log.read_text().startswith("some words\n")
    assert not (toy.out / ".stages/count").exists() and not (toy.out / "count.part").exists()
    toy.edit(toy.script, "echo some words; echo 'error: no luck: try again'; false", ": # a fault")
    assert "count" in toy.redone()
    assert tree(toy.out) == ["count", "parts/first", "parts/last", "upper"]


def test_a_stage_must_make_its_outputs(toy):
    toy.edit(toy.script, '>"$OUT/count.part"', ">/dev/null")
    log = toy.out / ".stages/count.log"
    fails(toy.run(), f"count: ended without making {toy.out}/count: see {log}")


def test_a_missing_input(toy):
    toy.text.unlink()
    message = f"count: its input {toy.text} is missing: run the script that makes it"
    fails(toy.run(), message)


def test_a_killed_stage_is_run_again(toy):
    toy.edit(toy.script, ": # a fault", 'touch "$OUT/here"; sleep 30')
    command = ["bash", toy.script]
    process = subprocess.Popen(
        command, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL
    )
    while not (toy.out / "here").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (toy.out / "upper").exists() and not (toy.out / ".stages/count").exists()
    toy.edit(toy.script, 'touch "$OUT/here"; sleep 30', ": # a fault")
    assert toy.redone() == ALL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--colour"], "unknown option --colour: choose from --out --size --word-kind --help"),
        (["--size=3"], "unknown option --size=3: choose from --out --size --word-kind --help"),
        (["--SIZE", "3"], "unknown option --SIZE: choose from --out --size --word-kind --help"),
        (["stray"], "unknown option stray: choose from --out --size --word-kind --help"),
        (["--size"], "--size needs a value: see --help"),
        (["--size", "0"], "--size must be a whole number >= 1, got 0"),
        (["--size", "1.5"], "--size must be a whole number >= 1, got 1.5"),
        (["--size", ""], "--size must be a whole number >= 1, got nothing"),
        (["--word-kind", "od"], "--word-kind must be one of plain odd, got od"),
        (["--word-kind", "plain odd"], "--word-kind must be one of plain odd, got plain odd"),
    ],
)
def test_bad_options_are_one_line_before_any_work(toy, options, message):
    fails(toy.run(*options), message)
    assert not toy.out.exists()


def test_help_is_the_head_of_the_script(toy):
    assert succeeds(toy.run("--size", "3", "--help")) == "Count words.\n\n  --size N   a number\n"


def test_an_out_with_other_files_keeps_them(toy):
    """Stages replace what has the name of an output."""
    toy.out.mkdir(parents=True)
    (toy.out / "parts").write_text("mine")
    message = f"--out {toy.out} has files, but none that such a script made: choose an empty folder"
    fails(toy.run(), message)
    assert [path.read_text() for path in toy.out.iterdir()] == ["mine"]


def test_an_out_that_cannot_be_made(toy):
    fails(toy.run("--out", toy.text), f"--out {toy.text} cannot be made: choose another folder")
    for out in (toy.out.with_name("a, b"), toy.out.with_name("a:b")):
        message = f"--out {out} has a comma or a colon, which fairseq takes for the end of a path:"
        fails(toy.run("--out", out), f"{message} choose another folder")
