"""fairseq's own programs, run as a user runs them, on a parallel corpus of a hundred lines.

A pytest plugin: test modules name it in ``pytest_plugins`` and share its fixtures, so that the
corpus is built and the models are trained once a session. (PYTEST_DONT_REWRITE: they also import
from it, before.)
"""

import os
import random
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import PLUGIN

COMMON = [
    *("--user-dir", PLUGIN, "--cpu", "--num-workers", 0, "--no-progress-bar"),
    # By default fairseq silently leaves out the last batch where its size is no multiple of 8.
    *("--required-batch-size-multiple", 1),
]
SHAPE = "--encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --encoder-layers 2 --decoder-layers 2"
HEADS = "--encoder-attention-heads 2 --decoder-attention-heads 2"
TRAINING = [
    *COMMON,
    *SHAPE.split(),
    *HEADS.split(),
    *"--optimizer adam --lr 0.01 --batch-size 8 --log-interval 1 --no-epoch-checkpoints".split(),
]
GENERATION = [*COMMON, "--beam", 5]

SENTENCES = {"train": 60, "valid": 12, "test": 12}
LONG = 1100  # words, beyond fairseq's default limit of 1,024


@dataclass
class Result:
    """What a program left behind."""

    returncode: int
    out: str
    err: str

    def losses(self, tag="train_inner"):
        """Losses in the order they were logged: ``train_inner`` at updates, ``valid``, ..."""
        found = re.findall(rf"(?:\| {tag} \||\[{tag}\]).*?\bloss[= ]([^ ,|]+)", self.out)
        return [float(loss) for loss in found]

    def lines(self, kind):
        """Sentence number to what follows it, for fairseq's ``H-0 <tab> ...`` and the like."""
        found = re.findall(rf"^{kind}-(\d+)\t(.*)$", self.out, re.MULTILINE)
        return {int(number): text for number, text in found}

    def hypotheses(self):
        """Sentence number to (score, text)."""
        pairs = {n: line.split("\t") for n, line in self.lines("H").items()}
        return {n: (float(score), text) for n, (score, text) in pairs.items()}

    @property
    def last_error_line(self):
        return self.err.strip().splitlines()[-1]


def start(program, *arguments, **kwargs):
    """Start fairseq-``program``, or a Python script, and return at once."""
    if Path(program).suffix == ".py":
        command = [sys.executable, program]
    else:
        command = [Path(sysconfig.get_path("scripts")) / f"fairseq-{program}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("FLOATER_TRACEBACK", None)
    return subprocess.Popen(
        [str(part) for part in (*command, *arguments)],
        env=environment,
        stdin=kwargs.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def run(program, *arguments, input=None, **kwargs):
    """Run to the end, whatever the end is."""
    if input is not None:
        kwargs["stdin"] = subprocess.PIPE
    with start(program, *arguments, **kwargs) as process:
        out, err = process.communicate(input)
    return Result(process.returncode, out, err)


def succeed(program, *arguments, **kwargs):
    """Run to the end, which must be a good one."""
    result = run(program, *arguments, **kwargs)
    assert result.returncode == 0, result.err
    return result


def together(function, commands, workers=2):
    """``function`` of each of ``commands``, a dict of argument lists, two at a time."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {name: pool.submit(function, *command) for name, command in commands.items()}
        return {name: future.result() for name, future in futures.items()}


def write_corpus(folder):
    """Random words, and as their translation the same words in reverse: positions matter."""
    generator = random.Random(0)
    for split, count in {**SENTENCES, "long": 1}.items():
        with open(folder / f"{split}.de", "w") as source, open(folder / f"{split}.en", "w") as to:
            for _ in range(count):
                length = LONG if split == "long" else generator.randint(2, 9)
                words = [generator.randrange(10) for _ in range(length)]
                print(*(f"a{word}" for word in words), file=source)
                print(*(f"b{word}" for word in reversed(words)), file=to)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A data folder; its subset ``test1`` is one pair of ``LONG`` words."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    result = succeed(
        *"preprocess --source-lang de --target-lang en --joined-dictionary".split(),
        *("--trainpref", folder / "train", "--validpref", folder / "valid"),
        *("--testpref", f"{folder / 'test'},{folder / 'long'}", "--destdir", folder / "data"),
    )
    assert "Dictionary: 24 types" in result.out + result.err
    return folder / "data"


@pytest.fixture(scope="session")
def trained(corpus, tmp_path_factory):
    """Model name to (checkpoint, what its training printed)."""
    folder = tmp_path_factory.mktemp("models")
    shapes = {
        "floater": ["--arch", "floater_transformer"],
        "stock": ["--arch", "transformer"],
        "learned": "--arch floater_transformer --position-encoder learned "
        "--max-source-positions 20 --max-target-positions 20".split(),
    }
    commands = {
        name: ["train", corpus, *TRAINING, *shape, "--max-update", 64, "--save-dir", folder / name]
        for name, shape in shapes.items()
    }
    # fairseq's own model is trained as by somebody who has never heard of the plugin.
    commands["stock"] = [part for part in commands["stock"] if part not in ("--user-dir", PLUGIN)]
    results = together(succeed, commands)
    return {name: (folder / name / "checkpoint_last.pt", results[name]) for name in commands}
