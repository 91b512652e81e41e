"""``recipes/evidence.sh``: what is missing, in order, and what rows that end or fail leave."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest
from launching import bash
from places import ROOT

RECIPES = ROOT / "recipes"

#: stands in for recipes/run.sh: writes a record or fails, or writes a table
STUB = """
[ "$4" != --stage ] || { [ "$1" != worse ] && ls "$RECORDS/$1" >"$RECORDS/$1/table.md"; exit; }
IFS=/ read -r experiment pair row <<<"$1"
[ "$row" != bad ] || { echo "error: it is bad"; exit 1; }
mkdir -p "$5/$experiment"
echo "$OMP_NUM_THREADS" >"$5/$experiment/$pair.$row.seed$3.json"
echo reference >"$5/$experiment/$pair.test.ref"
"""
COMMON = f"""
source {RECIPES}/common.sh
ROOT=$(cd "$RECIPES/.." && pwd)
setup_environment() {{ :; }}
use_avx512() {{ :; }}
"""


@cache
def rows(experiment):
    done = bash(RECIPES / "run.sh", experiment, "--list")
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines()}


def test_every_row_of_the_lists_is_one():
    names = ("evidence.txt", "understanding.txt")
    lines = [x.split() for name in names for x in (RECIPES / name).read_text().splitlines()]
    listed = [(target, seed) for target, *seeds in lines if target != "#" for seed in seeds]
    assert len(listed) == len(set(listed)) > 100
    for target, seed in listed:
        assert target in rows(target.split("/")[0]) and int(seed) > 0


def place(folder, lines):
    recipes = folder / "recipes"
    recipes.mkdir()
    shutil.copy(RECIPES / "evidence.sh", recipes)
    (recipes / "evidence.txt").write_text(lines)
    (recipes / "run.sh").write_text(STUB)
    (recipes / "common.sh").write_text(COMMON)
    (recipes / "results/e").mkdir(parents=True)
    (recipes / "results/e/p.one.seed2.json").write_text("")
    return recipes


LINES = "# first\ne/p/bad 1\ne/p/one 1 2\ne/p/two 1\n"


def test_what_is_missing_is_run_once_and_kept(tmp_path):
    recipes = place(tmp_path, LINES)
    listed = bash(recipes / "evidence.sh", "--list").stdout
    assert listed == "e/p/bad 1\ne/p/one 1\ne/p/two 1\n"
    done = bash(recipes / "evidence.sh", "--jobs", 1)
    assert done.returncode == 1 and "e/p/bad, seed 1: failed: error: it is bad" in done.stderr
    assert "some rows failed" in done.stderr and "e/p/two, seed 1: done" in done.stdout
    assert (recipes / "results/e/p.two.seed1.json").read_text() == "1\n"
    assert (recipes / "results/e/p.test.ref").read_text() == "reference\n"
    assert "p.two.seed1.json" in (recipes / "results/e/table.md").read_text()
    assert bash(recipes / "evidence.sh", "--list").stdout == "e/p/bad 1\n"


def test_a_list_may_have_comments_and_any_line_ends(tmp_path):
    text = "e/p/one 1 2  # as before\r\n\r\n   # e/p/none 3\r\n\te/p/two 1\n"
    recipes = place(tmp_path, text)
    assert bash(recipes / "evidence.sh", "--list").stdout == "e/p/one 1\ne/p/two 1\n"


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "e/p/one 1 two",
            "a seed of e/p/one must be a whole number from 1 to 999,999,999, ",
        ),
        ("e/p/one", "e/p/one has no seeds: write them after it"),
        ("e/one 1", "e/one is not a row: write EXPERIMENT/PAIR/ROW SEEDS"),
        ('"e/p/one 1', '"e/p/one is not a row: write'),
    ],
)
def test_what_is_no_row_is_named_before_any_work(line, message, tmp_path):
    recipes = place(tmp_path, f"e/p/two 1\n{line}\n")
    done = bash(recipes / "evidence.sh")
    assert done.returncode == 1 and message in done.stderr and not done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_it_stops_its_rows(number, tmp_path):
    """Otherwise they would run beside those of the next start."""
    recipes = place(tmp_path, "e/p/one 1\ne/p/two 1\n")
    (recipes / "run.sh").write_text('sleep 100 & echo $! >"$5/asleep" && wait')
    command = ["bash", recipes / "evidence.sh", "--jobs", "1", "--runs", tmp_path / "runs"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # bash cannot trap what was ignored when it began, as a background job ignores SIGINT.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    asleep = tmp_path / "runs/asleep"
    while not (asleep.exists() and asleep.read_text().endswith("\n")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=60) == 143
    row = Path(f"/proc/{asleep.read_text().strip()}/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # nobody may collect it
        while row.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.02)
    assert not list((recipes / "results/e").glob("*.two.*"))


def test_a_list_that_is_not_there(tmp_path):
    recipes = place(tmp_path, LINES)
    for more in ([], ["--list"]):
        done = bash(recipes / "evidence.sh", *more, variables={"EVIDENCE": tmp_path / "no.txt"})
        assert done.returncode == 1 and f"no list {tmp_path}/no.txt" in done.stderr
    done = bash(recipes / "evidence.sh", "--list", variables={"EVIDENCE": tmp_path})
    assert done.returncode == 1 and f"no list {tmp_path}" in done.stderr


def test_a_result_that_cannot_be_kept_is_none(tmp_path):
    """As on a full disk, the row is still missing, and is not reported as done."""
    recipes = place(tmp_path, "e/p/one 1\n")
    full = tmp_path / "cp"
    full.write_text('#!/bin/sh\nprintf half >"$2"\nexit 1\n')
    full.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = bash(recipes / "evidence.sh", variables={"PATH": path})
    assert done.returncode == 1 and "done" not in done.stdout
    assert "e/p/one, seed 1: failed: its scores could not be kept, see above" in done.stderr
    assert bash(recipes / "evidence.sh", "--list").stdout == "e/p/one 1\n"


def test_tables_of_what_is_there(tmp_path):
    folder = tmp_path / "a [1] *"  # not a pattern
    folder.mkdir()
    recipes = place(folder, LINES.replace("e/", "f/") + "e/p/one 2\nother/p/one 1\n")
    shutil.copytree(recipes / "results/e", recipes / "results/f")
    done = bash(recipes / "evidence.sh", "--tables")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    for experiment in "ef":
        assert "p.one.seed2.json" in (recipes / f"results/{experiment}/table.md").read_text()
    assert not (recipes / "results/other").exists()


def test_a_table_that_an_interrupted_run_left_is_made(tmp_path):
    """A table that is newer than its results is not made again."""
    recipes = place(tmp_path, "e/p/one 2\nf/p/one 2\ng/p/one 1\n")
    for experiment in ("f", "g"):
        shutil.copytree(recipes / "results/e", recipes / f"results/{experiment}")
    old = recipes / "results/f/table.md"
    old.write_text("as it was")
    assert bash(recipes / "evidence.sh").returncode == 0
    assert (recipes / "results/e/table.md").exists() and old.read_text() == "as it was"
    assert "p.one.seed1.json" in (recipes / "results/g/table.md").read_text()


def test_a_table_that_fails_keeps_no_other_from_being_made(tmp_path):
    recipes = place(tmp_path, "a/p/one 1\nworse/p/one 1\nz/p/one 1\n")
    for experiment in ("a", "worse", "z"):
        shutil.copytree(recipes / "results/e", recipes / f"results/{experiment}")
    assert bash(recipes / "evidence.sh", "--tables").returncode == 1
    assert (recipes / "results/z/table.md").exists()


def test_no_more_rows_than_wanted_and_none_that_others_work_on(tmp_path):
    recipes = place(tmp_path, LINES.replace("bad", "three"))
    command = [recipes / "evidence.sh", "--most", 2, "--runs", tmp_path / "runs"]
    (tmp_path / "runs/evidence").mkdir(parents=True)
    lock = tmp_path / "runs/evidence/e.p.three.seed1.lock"
    shell = f'exec 8>"{lock}"; flock 8; bash "$0" "${{@:1}}" 8>&-'
    done = bash("-c", shell, *command)
    assert done.returncode == 0, done.stderr
    assert "three" not in done.stdout and "e/p/one, seed 1: done" in done.stdout
    assert bash(*command[:1], "--list").stdout == "e/p/three 1\ne/p/two 1\n"


def test_a_lock_that_cannot_be_had_is_no_success(tmp_path):
    """Nothing was done, although no other run works on the row."""
    recipes = place(tmp_path, "e/p/one 1\n")
    (tmp_path / "flock").write_text('#!/bin/sh\necho "No locks available" >&2\nexit 71\n')
    (tmp_path / "flock").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = bash(recipes / "evidence.sh", variables={"PATH": path})
    assert done.returncode == 1 and "error: some rows failed" in done.stderr
    assert "one.seed1.lock cannot be locked, see above" in done.stderr


def test_a_result_that_comes_while_a_table_is_made_is_in_the_next(tmp_path):
    recipes = place(tmp_path, "e/p/one 1\n")
    late = 'cd "$RECORDS/$1" && touch p.late.seed1.json && sleep 0.05 && cp ../table table.md'
    (recipes / "run.sh").write_text(
        STUB.replace('>"$RECORDS/$1/table.md"', f'>"$RECORDS/table" && {late}')
    )
    assert bash(recipes / "evidence.sh").returncode == 0
    table = recipes / "results/e/table.md"
    assert "late" not in table.read_text()
    assert bash(recipes / "evidence.sh").returncode == 0
    assert "late" in table.read_text()


def preload(folder, vendor, compiler, **variables):
    """Run ``use_avx512`` with this vendor of the processor, and with this compiler, if any."""
    programs, recipes = folder / "bin", folder / "recipes"
    for made in (programs, recipes, folder / ".venv"):
        made.mkdir(parents=True)
    shutil.copy(RECIPES / "mkl_avx512.c", recipes)
    (programs / "grep").write_text(f'#!/bin/sh\n[ "$2" = {vendor} ]\n')
    (programs / "mv").write_text(f'#!/bin/sh\nexec {shutil.which("mv")} "$@"\n')
    if compiler:
        (programs / "cc").write_text(f"#!/bin/sh\n{compiler}\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    shell = 'source "$0"; ROOT=$1 PATH=$1/bin; hash -r; use_avx512; echo "$LD_PRELOAD"'
    return bash(
        "-c", shell, RECIPES / "common.sh", folder, variables={"LD_PRELOAD": "", **variables}
    )


def test_mkl_uses_avx512_on_processors_of_amd(tmp_path):
    made = preload(tmp_path / "1", "AuthenticAMD", 'echo "$4" made by "$@" >&2; : >"$4"')
    assert made.stdout == f"{tmp_path}/1/.venv/mkl_avx512.so\n" and "mkl_avx512.c" in made.stderr
    assert preload(tmp_path / "2", "GenuineIntel", ":").stdout == "\n"
    assert preload(tmp_path / "3", "AuthenticAMD", None).stdout == "\n"
    assert preload(tmp_path / "4", "AuthenticAMD", ":", LD_PRELOAD=" ").stdout == " \n"
    assert preload(tmp_path / "a space", "AuthenticAMD", ":").stdout == "\n"  # ld.so splits there
    failed = preload(tmp_path / "5", "AuthenticAMD", "exit 1")
    assert failed.stderr == "error: cc failed: see above, or set LD_PRELOAD=' ' to do without\n"


def test_mistakes(tmp_path):
    recipes = place(tmp_path, LINES)
    done = bash(recipes / "evidence.sh", "--jobs", 0)
    assert done.stderr == "error: --jobs must be a whole number from 1 to 999,999,999, got 0\n"
    assert "unknown option --now" in bash(recipes / "evidence.sh", "--now").stderr
