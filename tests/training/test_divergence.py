"""A training that diverges ends in one line."""

import re
from types import SimpleNamespace

import pytest
import torch
from commands import TRAINING
from launching import run, together

from fairseq_floater.training.divergence import explaining_divergence

pytest_plugins = ("commands",)

HALF = ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale", 2**30]
FLAGS = {
    "rate": ["--lr", 1e9],
    "rate of a schedule": [
        *("--lr", 1e9, "--lr-scheduler", "inverse_sqrt", "--warmup-updates", 2),
        *("--clip-norm", 5, "--save-interval-updates", 1),
    ],
    "scale": [*HALF, "--min-loss-scale", 2**29],
    "scale on a CPU": HALF,
}


@pytest.fixture(scope="module")
def diverged(corpus, tmp_path_factory):
    """Save folders and results by name."""
    base = ["train", corpus, *TRAINING, "--arch", "floater_transformer", "--max-update", 9]
    folders = {name: tmp_path_factory.mktemp("diverged") for name in FLAGS}
    commands = {name: [*base, *FLAGS[name], "--save-dir", folders[name]] for name in FLAGS}
    return folders, together(run, commands)


@pytest.mark.parametrize(
    "name, message",
    [
        ("rate", r"the training diverged at update 2: the loss is nan after \d\.\d+ at the "
         r"previous update \(gradients are Nan/Inf\): lower --lr 1e\+09, raise --warmup-updates 0 "
         r"or set --clip-norm, for example to 1 \(no checkpoint was saved in {folder} before\)"),
        ("rate of a schedule", r"the training diverged at update \d: .*: lower --lr 1e\+09, raise "
         r"--warmup-updates 2 or lower --clip-norm 5 \(the newest whole checkpoint is "
         r"{folder}/checkpoint_last.pt of update (\d)\)"),
        ("scale", r"the training diverged at update 1: the loss is \d\.\d+ \(Minimum loss scale "
         r"reached \(536870912.0\)\): .* or lower --fp16-init-scale 1073741824 \(no check.*\)"),
        ("scale on a CPU", r"the gradients of update 1 are too large for half precision at "
         r"--fp16-init-scale 1073741824: lower it, or leave out --fp16 \(no checkpoint .*\)"),
    ],
)  # fmt: skip
def test_divergence_ends_in_one_line(diverged, name, message):
    folder, result = diverged[0][name], diverged[1][name]
    assert result.returncode == 1 and "Traceback" not in result.err
    line = result.last_error_line
    assert (found := re.fullmatch("error: " + message.format(folder=folder), line)), line
    if name == "rate of a schedule":
        state = torch.load(folder / "checkpoint_last.pt", weights_only=True)
        assert state["optimizer_history"][-1]["num_updates"] == int(found[1])
        assert all(torch.isfinite(value).all() for value in state["model"].values())


def failing(error):
    def train_step(trainer, samples):
        try:
            raise error
        except ArithmeticError as first:
            raise RuntimeError("what comes of it") from first

    common = SimpleNamespace(fp16=False)
    trainer = SimpleNamespace(criterion=torch.nn.Identity(), cfg=SimpleNamespace(common=common))
    explaining_divergence(train_step)(trainer, [])


@pytest.mark.parametrize("error", [OverflowError("math range error"), ZeroDivisionError()])
def test_other_errors_stay_what_they_are(error):
    """An overflow is about the gradients only in half precision."""
    with pytest.raises(RuntimeError, match="what comes of it"):
        failing(error)


def test_an_error_that_is_its_own_cause():
    error = RuntimeError("mine")
    error.__cause__ = error
    with pytest.raises(RuntimeError, match="mine"):
        failing(error)
