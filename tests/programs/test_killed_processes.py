"""Training in several processes, one of which is killed: all end, and the next start resumes.

``--processes 4`` trains in four processes instead of two.
"""

import signal
import time

import pytest
import torch
from commands import TRAINING
from launching import run, start, together
from places import TESTS

pytest_plugins = ("commands",)

FLAGS = [
    *(*TRAINING, "--arch", "floater_transformer", "--dropout", 0.2, "--batch-size", 3),
    *("--update-epoch-batch-itr", "True", "--save-interval-updates", 3, "--max-update", 9),
    *("--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp", "--distributed-no-spawn"),
]
ENDED = (
    "error: another process of this training has ended: its own error says why; run all of them "
    "again to resume from the last checkpoint"
)


@pytest.fixture(scope="module")
def size(request):
    return request.config.getoption("--processes")


def command(program, corpus, folder, rank, size):
    """Return the command of one process of several, which meet at a file by their save folder."""
    meeting = folder.with_name(f"{folder.name}.meeting")
    return [
        *(program, corpus, *FLAGS, "--save-dir", folder, "--distributed-rank", rank),
        *("--distributed-world-size", size, "--distributed-init-method", f"file://{meeting}"),
    ]


def parameters_of_ranks(corpus, folder, size):
    """Train to the end, and return what each process has learned; see data_parallel.py."""
    commands = {
        rank: command(TESTS / "data_parallel.py", corpus, folder, rank, size)
        for rank in range(size)
    }
    for result in together(run, commands, workers=size).values():
        assert result.returncode == 0, result.err
    return [torch.load(folder / f"parameters{rank}.pt") for rank in range(size)]


@pytest.fixture(scope="module")
def unkilled(corpus, size, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unkilled")
    return parameters_of_ranks(corpus, folder / "saved", size)[0]


@pytest.mark.parametrize("killed", ["first", "last"])
def test_one_of_the_processes_is_killed(corpus, unkilled, size, tmp_path, killed):
    folder = tmp_path / "saved"
    ranks = [start(*command("train", corpus, folder, rank, size)) for rank in range(size)]
    victim = ranks[0 if killed == "first" else -1]
    for line in ranks[0].stdout:
        if "num_updates=5," in line:
            victim.kill()
            break
    end = time.monotonic() + 60
    for process in ranks:
        err = process.communicate(timeout=end - time.monotonic())[1]
        if process is victim:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 1
            assert err.strip().splitlines()[-1].endswith(ENDED)  # torch names the process first
            assert "Traceback" not in err
    (tmp_path / "saved.meeting").unlink(missing_ok=True)
    for parameters in parameters_of_ranks(corpus, folder, size):
        assert parameters.keys() == unkilled.keys()
        assert all(torch.equal(parameters[name], unkilled[name]) for name in unkilled)
