"""One line identifies the weights of a checkpoint, whatever else it holds."""

import torch
from launching import run, succeed
from places import ROOT

PROGRAM = ROOT / "recipes/weights_id.py"


def written(path, minutes=0, **changed):
    """Write a checkpoint of a training that took so many minutes; return the id of its weights."""
    model = {
        "scale": torch.tensor(2.0),
        "half": torch.ones(3, 2, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).view(2, 3).t(),
    }
    torch.save({"model": {**model, **changed}, "extra_state": {"minutes": minutes}}, path)
    return succeed(PROGRAM, path).out


def test_it_is_of_the_weights_and_of_nothing_else(tmp_path):
    first = written(tmp_path / "1.pt")
    assert first == written(tmp_path / "2.pt", minutes=7) and len(first) == 65
    others = [
        {"scale": torch.tensor(2.5)},
        {"scale": torch.tensor(2)},
        {"half": torch.ones(2, 3, dtype=torch.bfloat16)},
        {"turned": torch.arange(6.0).view(3, 2)},
        {"more": torch.zeros(1)},
    ]
    found = {written(tmp_path / "3.pt", **other) for other in others}
    assert len(found) == len(others) and first not in found


def test_what_is_no_checkpoint_is_an_error(tmp_path):
    done = run(PROGRAM, tmp_path / "none.pt")
    assert done.returncode == 1 and done.out == ""
    assert done.err.splitlines()[-1] == (
        f"error: no checkpoint at {tmp_path}/none.pt: give the path of a checkpoint*.pt"
    )
