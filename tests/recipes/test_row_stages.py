"""The stages of a row by themselves: what they wait for, what they keep, and what they do again."""

import os
import re
import subprocess

import pytest
from places import ROOT

SETTING = f"""
set -euo pipefail
source {ROOT}/recipes/common.sh
source {ROOT}/recipes/stages.sh
RUNS=$PWD/runs RUN=$PWD/runs/row ROOT=/nowhere EXPERIMENT=e PAIR=en-de ROW=x SEED=1 DRY_RUN=""
BASE="" LAUNCHER="" ARCH=a EXTRA="" DYNAMICS="" DATA=$PWD/data PROTOCOL=p FIRST=2 LAST=2
DURATION=(--max-update 5) SAVE=() TRAIN=(--lr "${{LR:-1}}" --max-update 5) ROWS=(x) TESTS=(a b)
SCORE=() ON=""
declare -A ROW_FLAGS=([x]="") ROW_BASE=() ROW_MODEL=()
MODEL_ROW=""
mkdir -p "$RUN" "$DATA/bin"
touch "$DATA/bin/dict.en.txt" "$DATA/bin/train.en.idx"
corpus() {{ :; }}
training() {{ :; }}
run_folder() {{ echo "$RUN"; }}
fairseq-train() {{ echo trained && [ -z "${{FAILS:-}}" ]; }}
floater() {{
    echo scored >>"$RUN/scores"
    mkdir -p "$RUNS/e" && touch "$RUNS/e/en-de.x.seed1.json"
}}
"""


@pytest.fixture
def shell(tmp_path):
    def run(script, **variables):
        return subprocess.run(
            ["bash", "-c", SETTING + script],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )

    run.row = tmp_path / "runs/row"
    return run


def test_a_full_disk_leaves_what_a_training_was_begun_with(shell):
    begun = shell("train", FAILS="1")
    assert begun.returncode == 1 and "training stopped" in begun.stderr
    command = (shell.row / "train.command").read_text()
    full = shell("trap '' XFSZ; ulimit -f 0; train")
    assert full.returncode != 0 and (shell.row / "train.command").read_text() == command
    other = shell("train", LR="2")
    assert other.returncode == 1 and "was trained with another command" in other.stderr
    assert shell("train").returncode == 0


def test_a_full_disk_at_the_start_is_named_and_an_empty_command_is_none(shell):
    full = shell("trap '' XFSZ; ulimit -f 0; train")
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1] == (
        f"error: {shell.row}/train.command cannot be written: make room, then run again"
    )
    (shell.row / "train.command").touch()
    assert shell("train").returncode == 0
    assert "--lr 1" in (shell.row / "train.command").read_text()


def test_the_log_goes_on_in_a_new_line_after_one_that_was_cut_off(shell):
    shell.row.mkdir(parents=True)
    (shell.row / "train.log").write_text("a whole line\nvalid | nll_loss 1.2")
    assert shell("train").returncode == 0
    lines = (shell.row / "train.log").read_text().splitlines()
    assert lines[1] == "valid | nll_loss 1.2" and lines[2].startswith("code: ")


def test_a_training_that_went_further_than_is_wanted_is_refused(shell):
    """It has not ended, so only its log says how far it went."""
    shell.row.mkdir(parents=True)
    (shell.row / "train.log").write_text("valid | num_updates 4\ntrain_inner | num_updates=7, lr=1")
    done = shell("train")
    assert done.returncode == 1 and "was trained for up to 7 updates, 5 are wanted" in done.stderr
    longer = 'EXTRA="--max-update 9"; train'  # the last one counts
    assert shell(longer).returncode == 0
    (shell.row / "train.log").write_text("train_inner | num_updates=5, lr=1\n")
    (shell.row / "train.done").unlink()
    (shell.row / "train.command").unlink()
    assert shell("train").returncode == 0


def test_a_base_that_cannot_be_trained_ends_the_row(shell):
    """Nothing is noted as begun, so that the row can be run again once there is a corpus."""
    base = """
    ROW=y BASE=x ROW_BASE=([y]=x) ROW_FLAGS=([x]="" [y]="") WARM_LR=1 WARM_DURATION=()
    run_folder() { echo "$RUNS/$1"; }
    rm -r data
    run_row
    """
    done = shell(base)
    fix = "no {}/bin to train on: begin with --stage 1, which makes it"
    assert done.returncode == 1
    assert done.stderr == f"error: {fix.format(shell.row.parent.parent / 'data')}\n", done.stderr
    assert not list(shell.row.parent.glob("*/train.*"))


def test_a_row_says_that_it_waits(shell):
    done = shell('flock() { [ "$1" != --nonblock ]; }; run_row')
    assert done.returncode == 0 and done.stderr == (
        f"{shell.row} is being worked on by another run, or by a process that one has left behind: "
        "waiting for it to end\n"
    )


def test_weights_that_were_removed_are_named(shell):
    script = 'NEEDS=$RUN/checkpoint_last.pt; step p "$DATA/bin/x" "$RUN/made" touch "$RUN/made"'
    done = shell(script)
    assert done.returncode == 1 and done.stderr == (
        f"error: p needs {shell.row}/checkpoint_last.pt, which was removed once the row was "
        f"scored: delete {shell.row} to train it again\n"
    )
    removed = 'touch "$RUN/checkpoint_last.pt"; ' + script + '; rm "$NEEDS"; ' + script
    assert shell(removed).stdout == "done already: p\n"


@pytest.mark.parametrize(
    "given, named", [("", "nothing"), (" ", "nothing"), ("/lib/libm.so.6", "libm.so.6")]
)
def test_what_was_preloaded_is_named(shell, given, named):
    assert shell("preloaded", LD_PRELOAD=given).stdout == f"{named}\n"


@pytest.mark.parametrize("test", ["a", "b"])
def test_any_new_translation_is_scored_anew(shell, test):
    script = 'touch -d "2 hours ago" "$RUN"/generate.{a,b}.done && score && '
    old = 'touch -d "1 hour ago" "$RUN/score.e.done" && score && '
    done = shell(f'{script}{old} touch "$RUN/generate.{test}.done" && score')
    assert done.returncode == 0 and done.stdout.count("done already: score.e") == 1, done.stderr
    assert (shell.row / "scores").read_text() == "scored\n" * 2


ENTRIES = [
    path
    for path in sorted([*ROOT.glob("*/*.sh"), *ROOT.glob("recipes/*/*.sh"), ROOT / ".ci/run"])
    if path.read_text().startswith("#!") and not path.is_relative_to(ROOT / "tests/data_prep")
]


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_cd_goes_where_it_is_told(path):
    """If CDPATH is set, cd prints, or goes elsewhere."""
    before, found, _ = path.read_text().partition("\nunset CDPATH")
    assert found and "cd " not in before.partition("\nset -")[2]


def test_a_cdpath_changes_nothing():
    listed = [
        subprocess.run(
            ["bash", "recipes/run.sh", "--list"],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        for variables in ({}, {"CDPATH": "."})
    ]
    assert listed[0].stdout == listed[1].stdout != ""
    assert not listed[1].stderr


def dry_run(target, *options, **variables):
    return subprocess.run(
        ["bash", ROOT / "recipes/run.sh", target, "--dry-run", *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_variables_of_the_environment_change_no_row():
    names = ("ON_VALIDATION", "HEATMAPS", "HOLD_OUT", "PIECES", "DOUBLE", "WARMUP")
    names += ("BUCKETS", "FEW_BUCKETS")
    for target in ("peers_bible_short/en-es/rotary", "squad_minilm/half-2.0/base"):
        found = [
            re.sub(r"\[ *\d+ s\]", "", dry_run(target, **given).stdout)
            for given in ({}, dict.fromkeys(names, "9"))
        ]
        assert found[0] == found[1] and "fairseq-train" in found[0]


def test_the_command_of_fine_tuning_has_its_one_gpu():
    for visible, shown in (("3,4", "CUDA_VISIBLE_DEVICES=3 "), ("", "")):
        done = dry_run("glue_minilm/rte/base", "--stage", "2", CUDA_VISIBLE_DEVICES=visible)
        assert f"\n{shown}fairseq-train runs/data/glue.rte/bin" in done.stdout


def test_rates_to_choose_from_can_be_given():
    done = dry_run("glue_minilm_lr/rte/base-lr-3e-4", RATES="3e-4")
    assert "--lr 3e-4" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "target, options, message",
    [
        ("quickstart//floater", [], "quickstart//floater has no language pair: name EXPERIMENT/"),
        (
            "quickstart",
            ["--jobs", ""],
            "--jobs must be a whole number from 1 to 999,999,999, got no",
        ),
        (
            "quickstart",
            ["--stage", "9" * 20],
            "--stage must be a whole number from 1 to 999,999,999, got 9",
        ),
    ],
)
def test_what_is_no_row_or_number_is_named(target, options, message):
    done = dry_run(target, *options)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {message}"), done.stderr


def test_a_mirror_may_be_relative_to_where_one_is(tmp_path):
    found = [
        subprocess.run(
            ["bash", "-c", f". {ROOT}/recipes/common.sh; printenv DATA_MIRROR || echo none"],
            cwd=tmp_path,
            env={**os.environ, "DATA_MIRROR": given},
            capture_output=True,
            text=True,
        ).stdout
        for given in ("a mirror", "/else/where", "http://host/a", "")
    ]
    assert found == [f"{tmp_path}/a mirror\n", "/else/where\n", "http://host/a\n", "\n"]


def test_a_dry_run_makes_no_folder(tmp_path):
    command = ["bash", ROOT / "recipes/run.sh", "table2_tiny/en-de/floater-all", "--dry-run"]
    done = subprocess.run(
        [*command, "--runs", "new/runs", "--stage", "3", "--stop-stage", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert f"floater average {tmp_path}/new/runs/" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_row_that_is_decoded_otherwise_has_the_model_of_another(shell):
    """The other row is trained if necessary, and only once."""
    other = """
    ROW=y ROW_MODEL=([y]=x) ROW_FLAGS=([x]="" [y]="--beam 7") FIRST=2 LAST=4
    AVERAGE=1 GENERATE=(--beam 4) REMOVE_BPE=w TESTS=(test)
    run_folder() { echo "$RUNS/$1"; }
    floater() { echo weights >"$RUNS/x/average.pt"; }
    fairseq-generate() { echo "$@" && cat "$5"; }
    run_row
    """
    done = shell(other)
    assert done.returncode == 0, done.stderr
    folder = shell.row.parent / "y"
    command, weights = (folder / "generate.test.log").read_text().splitlines()
    assert f"--path {folder}/average.pt" in command and command.endswith("--beam 7")
    assert weights == "weights" and (folder / "train.log").samefile(folder.parent / "x/train.log")
    assert (folder / "train.log").read_text().count("trained") == 1
    again = shell(other)
    assert again.returncode == 0 and again.stdout.count("done already") == 3, again.stdout


def test_a_model_to_fine_tune_is_known_by_its_weights(shell):
    """The file also says what made it and where, but runs of two machines are seeds of one row."""
    ids = [
        shell(
            f"source {ROOT}/recipes/finetuning.sh; MODEL=$PWD; mkdir -p base; ROW=base\n"
            f"echo made {when} >base/model.pt; weights_id() {{ echo {weights}; }}; corpus_id"
        ).stdout
        for when, weights in (("now", "1a"), ("then", "1a"), ("then", "2b"))
    ]
    assert ids[0] == ids[1] != ids[2] and len(ids[0].strip()) == 16
