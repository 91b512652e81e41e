"""The quick start, as a user runs it, and the environment that recipes make."""

import json
import os
import subprocess

import pytest
from launching import bash
from places import ROOT


def run_bash(script, *arguments, **variables):
    return bash(ROOT / script, *arguments, variables=variables)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = run_bash("recipes/quickstart.sh", "--runs", runs, "--updates", 1)
    return runs, runs / "quickstart/en-de/floater/seed1", done


def test_quickstart_runs_through(quickstart):
    """Corpus, training (far too short to be good), translation, scores, samples, pictures."""
    runs, run, done = quickstart
    assert done.returncode == 0, done.stderr
    for text in ("pairs in train", "floater: validation at update 1", "BLEU", "nrefs:1|case:mixed"):
        assert text in done.stdout
    assert done.stdout.count("  reference  ") == 5
    result = json.loads((runs / "quickstart/en-de.floater.seed1.json").read_text())
    assert 0 <= result["tests"]["test"]["bleu"] < 100 and result["training"]["updates"] == 1
    for stack in ("encoder", "decoder"):
        assert (runs / f"quickstart/{stack}.png").read_bytes().startswith(b"\x89PNG")


def test_quickstart_reuses_what_is_done(quickstart):
    """Except for a picture that is older than the model."""
    runs, run, first = quickstart
    drawn = {stack: runs / f"quickstart/{stack}.png" for stack in ("encoder", "decoder")}
    old = (run / "average.pt").stat().st_mtime_ns - 1
    os.utime(drawn["decoder"], ns=(old, old))
    made = [path for path in run.iterdir() if path.name != "lock"]
    before = {path: path.stat().st_mtime_ns for path in [*made, drawn["encoder"]]}
    result = json.loads((runs / "quickstart/en-de.floater.seed1.json").read_text())
    result["tests"]["test"]["bleu"], result["seed"] = 77.7, 2  # it is not this seed's that counts
    other = runs / "quickstart/en-de.floater.seed2.json"
    other.write_text(json.dumps(result))
    again = run_bash("recipes/quickstart.sh", "--runs", runs, "--updates", 1)
    other.unlink()
    assert again.returncode == 0, again.stderr
    assert "floater" in again.stdout and "77.7" not in again.stdout
    assert again.stdout.count("done already") == 4
    assert again.stdout.count("unchanged, skipped") == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert drawn["decoder"].stat().st_mtime_ns > old
    assert again.stdout.split("] results")[-1] == first.stdout.split("] results")[-1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--updates", "many"], "--updates must be a whole number from 1 to 999,999,999, got many"),
        (["--fast"], "unknown option --fast: choose from"),
    ],
)
def test_quickstart_refuses_bad_options(arguments, message):
    done = run_bash("recipes/quickstart.sh", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1


def test_setup_needs_a_fitting_python(tmp_path):
    """A clone with no .venv and no Python of the right version says so in one line."""
    for folder in ("recipes", "data-prep"):
        (tmp_path / folder).mkdir()
    for name in ("setup.py", "constraints.txt", "recipes/common.sh", "recipes/quickstart.sh"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    done = subprocess.run(
        ["bash", "recipes/quickstart.sh"],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "no Python 3.11.4 to 3.12 found" in done.stderr


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX", "tr_TR.UTF-8", "de_DE"])
def test_any_locale_and_folder_will_do(locale):
    """(The last two are rarely installed. An & has a meaning in a replacement of bash 5.2.)"""
    script = (
        '. "$0"; folder="/R&D" tests=(a) name=TRAIN; echo "${name,,}" "${tests[@]/#/$folder/}"; '
    )
    script += "python3 -c 'print(\"\\u2019\")'"
    done = subprocess.run(
        ["bash", "-c", script, ROOT / "recipes/common.sh"],
        env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.stdout.decode() == "train /R&D/a\n\N{RIGHT SINGLE QUOTATION MARK}\n"


STAND_IN = """#!/bin/sh
# A Python that makes an environment of itself, and whose pip takes its time.
case "$2" in
venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
pip) sleep 0.3 && echo "$@" >>"$PIP_LOG" ;;
esac
"""


SET_UP = ["bash", "-euc", ". recipes/common.sh; setup_environment; command -v python"]


def with_stand_in(folder):
    """Make a repository of the files that an installation reads; return it and variables."""
    place, python = folder / "a clone", folder / "a python"
    (place / "recipes").mkdir(parents=True)
    for name in ("setup.py", "constraints.txt", "recipes/common.sh"):
        (place / name).write_text((ROOT / name).read_text())
    python.write_text(STAND_IN)
    python.chmod(0o755)
    return place, {**os.environ, "PYTHON": str(python), "PIP_LOG": str(folder / "pip.log")}


def test_recipes_started_side_by_side_install_once(tmp_path):
    place, variables = with_stand_in(tmp_path)
    started = [
        subprocess.Popen(SET_UP, cwd=place, env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        assert process.communicate()[0].endswith(f"{place}/.venv/bin/python\n")
        assert process.returncode == 0
    assert len((tmp_path / "pip.log").read_text().splitlines()) == 2


def test_a_copy_or_a_moved_repository_installs_anew(tmp_path):
    """The files of an environment name the place where it was made."""
    place, variables = with_stand_in(tmp_path)

    def set_up():
        subprocess.run(SET_UP, cwd=place, env=variables, check=True, capture_output=True)
        return (tmp_path / "pip.log").read_text().count(f"-e {place}")

    assert set_up() == 1 == set_up()
    (place / ".venv/bin/floater").write_text("#!/old/place/python")
    place = place.rename(tmp_path / "moved")
    assert set_up() == 1 == set_up()
    assert not (place / ".venv/bin/floater").exists()
    (place / ".venv/bin/python").unlink()  # the system's Python was replaced by another
    (place / ".venv/bin/python").symlink_to(tmp_path / "gone")
    assert set_up() == 2 == set_up()


def test_an_environment_of_somebody_else_is_not_touched(tmp_path):
    place, variables = with_stand_in(tmp_path)
    (place / ".venv").mkdir()
    (place / ".venv/pyvenv.cfg").write_text("mine")
    done = subprocess.run(SET_UP, cwd=place, env=variables, capture_output=True, text=True)
    assert done.returncode == 1 and "was made by somebody else: move it away" in done.stderr
    assert (place / ".venv/pyvenv.cfg").read_text() == "mine"
    (place / ".venv/pyvenv.cfg").unlink()
    subprocess.run(SET_UP, cwd=place, env=variables, check=True, capture_output=True)
