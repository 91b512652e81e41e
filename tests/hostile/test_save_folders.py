"""A damaged ``checkpoint_last.pt`` is read as it was saved, or an earlier one is taken."""

import random

import pytest
import torch
from damage import KINDS
from hostility import cases
from hypothesis import given
from hypothesis import strategies as st

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.training.save_folder import newest_whole

#: damage to the bytes of a file
BYTES = (
    *("truncated", "flipped", "flipped in the directory", "overwritten"),
    *("another kind of file", "packed again"),
)


def save(path, updates):
    model = {"a": torch.full((500,), updates)}
    history = [{"num_updates": updates}]
    state = {"cfg": {"model": {}}, "model": model, "optimizer_history": history, "args": None}
    torch.save(state, path)
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(folder / "checkpoint_1_3.pt", 3)
    return folder


@cases(300)
@given(kind=st.sampled_from(BYTES), seed=st.integers(0, 2**64))
def test_what_is_gone_on_from_is_read(folder, kind, seed):
    """The program that resumes can read it too, though it reads in another way."""
    last, chance = folder / "checkpoint_last.pt", random.Random(seed)
    saved = save(last, 6)
    last.write_bytes(KINDS[kind](last.read_bytes(), chance, folder / "marker"))
    newest, broken = newest_whole(folder)
    assert not (folder / "marker").exists()
    if newest.path == last:
        read = read_checkpoint(str(last))
        assert torch.equal(read["model"]["a"], saved["model"]["a"])
        assert kind != "another kind of file" and not broken
    else:
        assert newest == (folder / "checkpoint_1_3.pt", 3)
        assert [one.path for one in broken] == [last]
