"""A parallel corpus of a hundred lines, models trained on it, and fairseq's flags for both.

This is a pytest plugin. Test modules name it in ``pytest_plugins`` and share its fixtures, so the
corpus is built and the models are trained once per session, for all of its processes.
(PYTEST_DONT_REWRITE: test modules also import from it before pytest loads it as a plugin.)
"""

import fcntl
import os
import pickle
import random
import shutil
from functools import partial

import pytest
from launching import succeed, together
from places import PLUGIN

COMMON = [
    *("--user-dir", PLUGIN, "--cpu", "--num-workers", 0, "--no-progress-bar"),
    # By default fairseq silently leaves out the last batch if its size is not a multiple of 8.
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


def write_corpus(folder):
    """Write random words, and the same words in reverse as their translation: positions matter."""
    generator = random.Random(0)
    for split, count in {**SENTENCES, "long": 1}.items():
        with open(folder / f"{split}.de", "w") as source, open(folder / f"{split}.en", "w") as to:
            for _ in range(count):
                length = LONG if split == "long" else generator.randint(2, 9)
                words = [generator.randrange(10) for _ in range(length)]
                print(*(f"a{word}" for word in words), file=source)
                print(*(f"b{word}" for word in reversed(words)), file=to)


def made_once(tmp_path_factory, name, make):
    """Call ``make`` on an empty folder once for all processes of the session; return its result."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, result = base / name, base / f"{name}.pickle"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a process in which it failed
            folder.mkdir()
            result.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(result.read_bytes())


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A data folder, to be read only; its subset ``test1`` is one pair of ``LONG`` words."""
    return made_once(tmp_path_factory, "corpus", make_corpus)


def make_corpus(folder):
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
    """(checkpoint, what its training printed) by model name. Checkpoints are to be read only."""
    return made_once(tmp_path_factory, "models", partial(train_models, corpus))


def train_models(corpus, folder):
    shapes = {
        "floater": ["--arch", "floater_transformer"],
        "stock": ["--arch", "transformer"],
        "learned": "--arch floater_transformer --position-encoder learned "
        "--max-source-positions 20 --max-target-positions 20".split(),
    }
    updates = {"floater": 64, "stock": 64, "learned": 8}  # what the last one learns is not used
    commands = {
        name: [
            *("train", corpus, *TRAINING, *shape),
            *("--max-update", updates[name], "--save-dir", folder / name, "--save-interval", 8),
        ]
        for name, shape in shapes.items()
    }
    # fairseq's own model is trained as if by somebody who has never heard of the plugin.
    commands["stock"] = [part for part in commands["stock"] if part not in ("--user-dir", PLUGIN)]
    results = together(succeed, commands)
    return {name: (folder / name / "checkpoint_last.pt", results[name]) for name in commands}
