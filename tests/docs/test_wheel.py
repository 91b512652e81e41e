"""The wheel: what a user gets by installing the package without the repository."""

import random
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from launching import succeed
from places import PLUGIN, ROOT

SOURCES = ("setup.py", "README.md", "LICENSE", "fairseq_floater")


def run(*command, folder):
    """Run in a folder that is not the repository, and return what was printed."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", folder / "dist", folder, folder=folder)
    return next((folder / "dist").glob("fairseq_floater-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of a new environment with the wheel, which also sees this one's packages."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
    # A line of a .pth file adds a folder, but not what editable installations add to it.
    there = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (Path(own.strip()) / "others.pth").write_text("\n".join(there) + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    run(*pip, wheel, folder=folder)
    return folder


LOOK = """
import sys
from importlib.metadata import metadata

import fairseq_floater
from fairseq_floater.cli import main

found = metadata("fairseq-floater")
print(fairseq_floater.__file__)
print(found["Author"], found["Requires-Python"], found["License-File"], sep="\\n")
main(["user-dir"])
main(["--help"])
"""


@pytest.fixture(scope="module")
def printed(installed, tmp_path_factory):
    """The lines that the installed package prints about itself, run in another folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return run(installed / "bin/python", "-c", LOOK, folder=folder).splitlines()


@pytest.fixture(scope="module")
def package(printed):
    """The folder that ``floater user-dir`` prints."""
    return Path(printed[4])


def test_the_installed_package_is_the_one_imported(installed, printed, package):
    assert Path(printed[0]).parent == package and package.is_relative_to(installed)


def test_every_module_and_the_mark_of_types_are_installed(package):
    assert (package / "py.typed").exists()
    assert modules(package) == modules(ROOT / "fairseq_floater")


def modules(package):
    return sorted(path.relative_to(package).as_posix() for path in package.glob("**/*.py"))


def test_metadata(printed):
    author, python, licence = printed[1:4]
    assert author == "The fairseq-floater authors" and licence == "LICENSE"
    assert set(python.split(",")) == {">=3.11.4", "<3.13"}


def test_the_command(printed):
    shown = "\n".join(printed[5:])
    files = (PLUGIN / "commands").glob("*.py")
    commands = {path.stem.replace("_", "-") for path in files if "SUMMARY = " in path.read_text()}
    assert {"user-dir", "convert", "score-answers"} <= commands
    for command in commands:
        assert re.search(rf"^ +{command}( |$)", shown, re.MULTILINE), command


BOTH = """
import runpy, sys

for program, sys.argv in {runs}:
    print(program)
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        assert not end.code
"""


def test_training(installed, package, tmp_path):
    """Train for one update with the installed plugin as --user-dir, and inspect the result.

    fairseq alone makes the corpus; one interpreter runs both programs.
    """
    generator = random.Random(0)
    for split in ("train", "valid"):
        lines = [generator.choices("abcdef", k=generator.randint(2, 6)) for _ in range(8)]
        (tmp_path / f"{split}.en").write_text("".join(" ".join(line) + "\n" for line in lines))
        shutil.copy(tmp_path / f"{split}.en", tmp_path / f"{split}.de")
    succeed(
        *"preprocess --source-lang en --target-lang de --trainpref train --validpref valid".split(),
        *("--destdir", "bin"),
        cwd=tmp_path,
    )
    train = [
        *("fairseq-train", "bin", "--user-dir", package, "--cpu"),
        *("--arch", "floater_transformer_tiny", "--optimizer", "adam", "--max-tokens", 200),
        *("--max-update", 1, "--num-workers", 0, "--save-dir", "saved"),
    ]
    inspect = ["floater", "inspect", "saved/checkpoint_last.pt"]
    commands = [[str(part) for part in command] for command in (train, inspect)]
    scripts = (sysconfig.get_path("scripts"), installed / "bin")
    programs = [f"{folder}/{command[0]}" for folder, command in zip(scripts, commands)]
    script = BOTH.format(runs=list(zip(programs, commands)))
    found = run(installed / "bin/python", "-c", script, folder=tmp_path)
    assert "1 update" in found.rpartition(f"{programs[1]}\n")[2]
