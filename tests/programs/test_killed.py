"""A training that is killed while it saves can be resumed, and ends as if never killed."""

import shutil
import signal

import pytest
import torch
from commands import TRAINING
from launching import run, succeed
from places import TESTS

pytest_plugins = ("commands",)

KILLED = TESTS / "killed_inside.py"
FLAGS = [
    *(*TRAINING, "--arch", "floater_transformer", "--dropout", 0.2),
    *("--update-epoch-batch-itr", "True", "--save-interval-updates", 3, "--max-update", 12),
]


def state(folder):
    """Return parameters and optimizer state, by name, of the last and the best checkpoint."""
    found = {}
    for which in ("last", "best"):
        checkpoint = torch.load(folder / f"checkpoint_{which}.pt", weights_only=True)
        moments = checkpoint["last_optimizer_state"]["state"]
        found |= {f"{which} {name}": value for name, value in checkpoint["model"].items()}
        found |= {
            f"{which} {number} {name}": torch.as_tensor(value)
            for number, values in moments.items()
            for name, value in values.items()
        }
    return found


@pytest.fixture(scope="module")
def unkilled(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unkilled")
    succeed("train", corpus, *FLAGS, "--save-dir", folder)
    return folder, state(folder)


@pytest.mark.parametrize(
    "what, number, goes_on_from, updates",
    [("save", 2, None, 3), ("copy", 2, "checkpoint_1_3.pt of update 3", 3),
     ("rename", 5, "checkpoint_1_6.pt of update 6", 6)],
)  # fmt: skip
def test_killed_inside_a_save(corpus, unkilled, tmp_path, what, number, goes_on_from, updates):
    """In the second checkpoint, in the first checkpoint_last.pt, or before the second one."""
    train = [corpus, *FLAGS, "--save-dir", tmp_path]
    assert run(KILLED, what, number, *train).returncode == -signal.SIGKILL
    (part,) = tmp_path.glob(".checkpoint*.part")
    again = succeed("train", *train)
    line = f"resuming from the newest whole checkpoint, {tmp_path}/{goes_on_from}\n"
    assert again.out.count("resuming from the") == again.out.count(line) == bool(goes_on_from)
    assert len(again.losses()) == 12 - updates
    found, expected = state(tmp_path), unkilled[1]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not list(tmp_path.glob(".*"))


def test_killed_after_the_last_save(corpus, unkilled):
    """By default fairseq makes one more update whenever it is started again."""
    folder, _ = unkilled
    before = (folder / "checkpoint_last.pt").read_bytes()
    again = succeed("train", corpus, *FLAGS, "--save-dir", folder)
    assert "nothing is left to train: update 12 is the last" in again.out and not again.losses()
    assert (folder / "checkpoint_last.pt").read_bytes() == before


def test_a_training_whose_time_is_over_stays_as_it_is(corpus, tmp_path):
    """By default fairseq makes one more update whenever it is started again."""
    train = ["train", corpus, *TRAINING, "--arch", "floater_transformer", "--save-dir", tmp_path]
    train += ["--stop-time-hours", 1e-6]
    assert len(succeed(*train).losses()) == 1
    again = succeed(*train)
    why = "it has taken the 1e-06 hours of --stop-time-hours"
    assert f"nothing is left to train: {why}" in again.out and not again.losses()


def test_patience_goes_on_counting(corpus, tmp_path):
    """No validation is better than the first, because the learning rate is 0."""
    train = ["train", corpus, *TRAINING, "--arch", "floater_transformer", "--lr", 0]
    train += ["--save-dir", tmp_path, "--batch-size", 64]

    def validations(patience, *flags):
        done = succeed(*train, "--patience", patience, *flags)
        why = f"the last {patience} validations were no better, and --patience is {patience}\n"
        assert f"nothing is left to train: {why}" in done.out or done.losses("valid")
        return len(done.losses("valid"))

    def at_last(key):
        return torch.load(tmp_path / "checkpoint_last.pt")["extra_state"]["patience"].get(key)

    assert validations(3, "--max-epoch", 2) == 2 and at_last("num_runs") == 1
    assert validations(3) == 2
    assert validations(3) == 0
    assert validations(4) == 1
    assert validations(2, "--reset-meters") == 3
    assert validations(0, "--max-epoch", 9) == 1 and at_last("num_runs") is None
    assert validations(2) == 3


FULL = """import resource
from fairseq_cli import train
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
train.cli_main()
"""


def test_a_full_disk(corpus, unkilled, tmp_path):
    """No file may be as long as a checkpoint. What was saved before stays unchanged."""
    program, folder = tmp_path / "fairseq-train.py", tmp_path / "saved"
    program.write_text(FULL)
    shutil.copytree(unkilled[0], folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run(program, corpus, *FLAGS, "--save-dir", folder, "--max-update", 15)
    assert result.returncode == 1 and "Traceback" not in result.err + result.out
    path = folder / "checkpoint_2_15.pt"
    assert result.last_error_line == (
        f"error: {path} cannot be written: File too large: free some space, or check the folder, "
        f"and run again (the newest whole checkpoint is {folder}/checkpoint_last.pt of update 12)"
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
