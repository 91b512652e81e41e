"""The README: its commands run as they stand, and its table has every flag."""

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from fairseq_floater.options import PositionOptions

pytest_plugins = ["commands"]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def environment():
    scripts = Path(sys.executable).parent
    return {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def own_data(tmp_path):
    """A toy corpus in plain words: the target is the source reversed, in capitals."""
    generator = random.Random(0)
    words = [f"word{i}" for i in range(12)]
    (tmp_path / "corpus").mkdir()
    for split, size in (("train", 60), ("valid", 10), ("test", 10)):
        lines = [generator.choices(words, k=generator.randint(2, 8)) for _ in range(size)]
        for language in ("en", "de"):
            text = lines if language == "en" else [[w.upper() for w in x[::-1]] for x in lines]
            path = tmp_path / "corpus" / f"{split}.{language}"
            path.write_text("".join(" ".join(line) + "\n" for line in text))
    return tmp_path


def test_own_data_commands(own_data):
    """Preprocess, train (shortened), generate, draw."""
    assert shutil.which("floater", path=environment()["PATH"]), "install the project first"
    script = blocks("bash")[1]
    assert "--max-update 8000" in script
    script = script.replace("--max-update 8000", "--max-update 2 --cpu")
    script = script.replace("--lenpen 0.6", "--lenpen 0.6 --max-len-b 10 --cpu")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=own_data,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(re.findall(r"^H-\d+\t", done.stdout, flags=re.M)) == 10
    assert (own_data / "encodings.png").read_bytes().startswith(b"\x89PNG")


def test_commands_for_trained_models(trained, tmp_path):
    shutil.copy(trained["stock"][0], tmp_path / "base.pt")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks("bash")[2]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "pictures/encoder.png").exists() and (tmp_path / "floater.pt2").exists()
    assert re.search(r"^position encoder +floater$", done.stdout, flags=re.M)
    assert "1,025 positions of the encoder" in done.stdout


def test_recipe_commands():
    """Each runs as it stands, but for running in earnest."""
    lines = (blocks("bash")[3] + blocks("bash")[4]).replace("\\\n", " ").splitlines()
    commands = [line.split("#")[0].strip() for line in lines]
    assert len(commands) == 7
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command if "--list" in command else f"{command} --dry-run"],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "table2" in done.stdout, done.stderr


def test_python_example():
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "torch.Size([3, 1000, 64])", done.stderr


def test_every_flag_is_in_the_table_with_its_default():
    for field in fields(PositionOptions):
        if field.name == "_name":
            continue
        flag = "--" + field.name.replace("_", "-")
        row = re.search(rf"^\| `{flag}` \| (.*?) \|", README, flags=re.M)
        assert row, f"{flag} is not in the README's table"
        if isinstance(field.default, (str, float, int)) and field.default is not False:
            assert row[1] == f"`{field.default}`", flag


def test_files_named_in_the_readme_exist():
    linked = re.findall(r"\]\(((?!http)[^)]+)\)", README)
    named = re.findall(r"`((?:fairseq_floater|recipes|data-prep|tests)/[\w./-]*)`", README)
    assert linked and named
    for path in linked + named:
        assert (ROOT / path).exists(), path
