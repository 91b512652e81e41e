"""The README and the documentation: their commands run as they stand, and what they name exists."""

import os
import random
import re
import shutil
import sys
from pathlib import Path

import pytest
from launching import bash
from places import ROOT

pytest_plugins = ["commands"]

PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]

#: how many blocks of commands each page has; all are executed, below or where a comment says
COMMANDS = {
    "README.md": 3,  # the first: the quick start by test_quickstart.py, the tests by .ci/run
    "CONTRIBUTING.md": 1,  # by .ci/run
    "docs/adding-an-encoder.md": 2,  # by tests/docs/test_adding_an_encoder.py
    "docs/checkpoints.md": 1,
    "docs/corpora.md": 1,
    "docs/faq.md": 1,
    "docs/peers.md": 1,
    "docs/recipes.md": 2,
}


def blocks(page, language="bash"):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.S | re.M)


PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(script, folder):
    """Run commands of a page in a folder."""
    return bash("-euo", "pipefail", "-c", script, cwd=folder, variables={"PATH": PATH})


def succeed(script, folder):
    done = run(script, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def changed(script, before, after):
    """Return ``script`` with one part changed, which it must contain."""
    assert before in script
    return script.replace(before, after)


def lines_of(script):
    """Return the commands of a block, one per line, without comments."""
    lines = script.replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines]


def test_every_block_of_commands_is_executed():
    found = {page: len(blocks(page)) for page in PAGES if blocks(page)}
    assert found == COMMANDS


def test_commands_that_continuous_integration_executes():
    executed = (ROOT / ".ci/run").read_text()
    quick_start, tests = lines_of(blocks("README.md")[0])
    assert quick_start == "bash recipes/quickstart.sh"
    for command in (tests, *lines_of(blocks("CONTRIBUTING.md")[0])):
        assert re.search(rf"^{re.escape(command)}\b", executed, flags=re.M), command


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """A toy corpus in plain words: the target is the source reversed, in capitals."""
    folder = tmp_path_factory.mktemp("own_data")
    generator = random.Random(0)
    words = [f"word{i}" for i in range(12)]
    (folder / "corpus").mkdir()
    for split, size in (("train", 60), ("valid", 10), ("test", 10)):
        lines = [generator.choices(words, k=generator.randint(2, 8)) for _ in range(size)]
        for language in ("en", "de"):
            text = lines if language == "en" else [[w.upper() for w in x[::-1]] for x in lines]
            path = folder / "corpus" / f"{split}.{language}"
            path.write_text("".join(" ".join(line) + "\n" for line in text))
    return folder


@pytest.fixture(scope="module")
def own_model(own_data):
    """What the README's commands printed: preprocess, train (shortened), generate, draw."""
    assert shutil.which("floater", path=PATH), "install the project first"
    script = changed(blocks("README.md")[1], "--max-update 8000", "--max-update 2 --cpu")
    script = changed(script, "--lenpen 0.6", "--lenpen 0.6 --max-len-b 10 --cpu")
    return succeed(script, own_data).stdout


def test_own_data_commands(own_model, own_data):
    assert len(re.findall(r"^H-\d+\t", own_model, flags=re.M)) == 10
    assert (own_data / "encodings.png").read_bytes().startswith(b"\x89PNG")


def test_command_for_floater_on_rotary(own_model, own_data):
    script = changed(blocks("docs/peers.md")[0], "8000", "2 --cpu --save-dir on_rotary")
    assert "base_positions': 'rotary'" in succeed(script, own_data).stdout


def test_hydra_command(own_model, own_data):
    script = changed(blocks("docs/faq.md")[0], "recipes/hydra", str(ROOT / "recipes/hydra"))
    script = f"{script.rstrip()} common.cpu=true optimization.max_update=2 dataset.num_workers=0"
    succeed(script, own_data)
    assert list((own_data / "runs/hydra").glob("**/checkpoint_last.pt"))


@pytest.fixture(scope="module")
def tools():
    """The commands for trained models; the README has some of them, in the same order."""
    script = blocks("docs/checkpoints.md")[0]
    lines = iter(lines_of(script))
    assert all(line in lines for line in lines_of(blocks("README.md")[2]))
    return script


def test_commands_for_trained_models(trained, tmp_path, tools):
    shutil.copy(trained["stock"][0], tmp_path / "base.pt")
    done = succeed(tools, tmp_path)
    assert (tmp_path / "pictures/encoder.png").exists() and (tmp_path / "floater.pt2").exists()
    assert re.search(r"^position encoder +floater$", done.stdout, flags=re.M)
    assert "1,025 positions of the encoder" in done.stdout
    for picture in re.findall(r"\w+\.png", tools):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    for checkpoint in re.findall(r"\w+\.pt\b", tools):
        assert (tmp_path / checkpoint).exists()


def test_recipe_commands():
    """Each runs as it stands, but as a dry run unless it only lists."""
    commands = [line for block in blocks("docs/recipes.md") for line in lines_of(block)]
    assert len(commands) == 7
    for command in commands:
        done = run(command if "--list" in command else f"{command} --dry-run", ROOT)
        assert done.returncode == 0 and "table2" in done.stdout, done.stderr


def test_corpus_commands():
    """Each script knows the options it is given; the tests of corpora run the scripts."""
    commands = lines_of(blocks("docs/corpora.md")[0])
    assert len(commands) == 5
    for command in commands:
        script, _, options = command.removeprefix("bash ").partition(" ")
        assert f"bash {script}" in succeed(f"{command} --help", ROOT).stdout
        for option in options.split():
            known = (ROOT / script).read_text()
            assert not option.startswith("--") or option in known, command


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(((?!http)[^)#]+)(?:#[^)]*)?\)", text)
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link
    for path in re.findall(r"`((?:fairseq_floater|recipes|data-prep|docs|tests)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_readme_links_every_page_of_the_guide():
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {page for page in PAGES if page.startswith("docs/") and "api/" not in page}


def test_figures_of_the_readme_are_those_of_the_results():
    """The table of the README, cell by cell, against what the report printed."""
    names = {"FLOATER": "floater", "sinusoidal": "sinusoidal", "learned": "learned"}
    printed = (ROOT / "recipes/results/table2_tiny_short/table.md").read_text()
    printed = printed.replace(" \\*", "")  # the mark of few seeds
    for page in ("README.md", "docs/results.md"):
        rows = re.findall(
            r"^\| (\w+), (all|input)(?: blocks)? \| (.*) \|$", (ROOT / page).read_text(), re.M
        )
        assert len(rows) == 6
        for encoder, where, figures in rows:
            assert f"| {names[encoder]}-{where} | {figures} |" in printed
