"""``recipes/run.sh``: what it would run, and a whole row on a corpus of a few lines."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = ["prepare", "train", "average", "generate", "score", "report"]


def run(*arguments, **variables):
    return subprocess.run(
        ["bash", ROOT / "recipes/run.sh", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **variables},
        capture_output=True,
        text=True,
    )


def words(text):
    """A printed command as one line of words."""
    return re.sub(r"\s*\\\n\s*", " ", text)


EXPERIMENTS = run("--list").stdout.split()


def test_all_experiments_are_there():
    """The paper's tables and figures, at full scale and at small scale."""
    wanted = {
        f"{name}_{scale}"
        for name in ("table2", "table6", "figure2", "figure3")
        for scale in ("base", "tiny", "small", "bible")
    }
    assert wanted | {"table2_big", "table2_iwslt14", "warm_tiny"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_can_be_shown(experiment):
    """Each of its rows is trained with an architecture and position flags that exist."""
    from fairseq_floater.options import ENCODERS

    rows = run(experiment, "--list").stdout.splitlines()
    assert rows and all(line.startswith(f"{experiment}/") for line in rows)
    done = run(rows[0].split()[0], "--dry-run")
    assert done.returncode == 0, done.stderr
    names = re.findall(r"seed \d+: (\w+)", done.stdout)
    assert [name for name in dict.fromkeys(names)] == STAGES
    text = words(done.stdout)
    trainings = re.findall(r"^fairseq-train .*", text, re.MULTILINE)
    for command in trainings:
        assert re.search(r"--arch floater_transformer_\w+ ", command)
        assert re.search(r"--position-encoder (\w+)", command)[1] in ENCODERS
        flags = re.findall(r"(--[a-z-]+)", command)
        assert len(flags) == len(set(flags)), "a flag given twice"
        assert "--required-batch-size-multiple 1" in command
    assert "--max-len-b" in text and str(ROOT) not in text


def test_the_protocol_of_the_paper():
    """Base model at 7e-4, then FLOATER from its averaged checkpoint at half of that."""
    text = words(run("table2_base/en-de/floater-all-warm", "--dry-run").stdout)
    base, warm = re.findall(r"^fairseq-train .*", text, re.MULTILINE)
    assert "--position-encoder sinusoidal" in base and "--lr 7e-4" in base
    assert "--max-epoch 30" in base and "--finetune-from-model" not in base
    assert "--position-encoder floater" in warm and "--lr 3.5e-4" in warm
    assert "--max-epoch 10" in warm
    averages = re.findall(r"floater average \S+ --last 5 --out (\S+)", text)
    assert f"--finetune-from-model {averages[0]}" in warm
    assert "--beam 4 --lenpen 0.6" in text


def test_stages_seeds_and_launcher():
    text = run("table2_tiny/en-fr/learned-input", "--dry-run", "--seed", 7, "--stage", 2,
               "--stop-stage", 3, "--launcher", "torchrun --nproc_per_node 8",
               "--train", "--fp16 --update-freq 2").stdout  # fmt: skip
    assert re.findall(r"seed 7: (\w+)", text) == ["train", "average"]
    command = re.search(r"^torchrun .*", words(text), re.MULTILINE)[0]
    assert "torchrun --nproc_per_node 8 fairseq-train" in command
    assert command.endswith("--fp16 --update-freq 2") and "--seed 7" in command
    assert "/en-fr/learned-input/seed7" in command


def test_a_whole_table_goes_row_by_row():
    text = run("table2_tiny", "--dry-run", "--stage", 4).stdout
    rows = list(dict.fromkeys(re.findall(r"table2_tiny/(\S+), seed", text)))
    assert len(rows) == 12 and rows[0] == "en-de/floater-all" and rows[-1] == "en-fr/learned-input"
    assert text.count("floater report") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name an experiment: one of"),
        (["table9"], "no experiment table9: choose from"),
        (["table2_tiny/en-ru"], "no language pair en-ru in table2_tiny: choose from en-de en-fr"),
        (["table2_tiny/en-de/x"], "no row x in table2_tiny: choose from floater-all"),
        (["table2_tiny/en-de/floater-all/1"], "has a part too many: name EXPERIMENT/PAIR/ROW"),
        (["table2_tiny", "--stage", "0"], "--stage must be a whole number >= 1, got 0"),
        (["table2_tiny", "--stop-stage", "7"], "stages run from 1 to 6, got 1 to 7"),
        (["table2_tiny", "--seed"], "--seed needs a value"),
        (["table2_tiny", "--sed", "1"], "unknown option --sed"),
        (["table2_tiny", "table6_tiny"], "one experiment or row at a time"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr
