"""Which checkpoint of a save folder is gone on from."""

import logging
import os

import pytest
import torch

from fairseq_floater.errors import UserError
from fairseq_floater.training.kept import newest_whole, remove_leftovers, what_is_left
from fairseq_floater.training.resume import mend_last


def save(path, updates):
    history = [{"num_updates": updates}]
    torch.save({"optimizer_history": history, "model": {"a": torch.full((5000,), updates)}}, path)


@pytest.fixture
def folder(tmp_path):
    """As after 24 updates, the newest files last; ``crash.pt`` and others are not gone on from."""
    names = {
        **{"checkpoint_1_8.pt": 8, "checkpoint1.pt": 10, "checkpoint_2_16.pt": 16},
        **{"checkpoint_best.pt": 16, "checkpoint_2_24.pt": 24, "checkpoint_last.pt": 24},
        **{"crash.pt": 99, "average.pt": 99, "checkpoint_mine.pt": 99},
    }
    for number, (name, updates) in enumerate(names.items()):
        save(tmp_path / name, updates)
        os.utime(tmp_path / name, (number, number))
    return tmp_path


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    """One bit in the middle, where the weights are."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def last_of(folder):
    return torch.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def test_a_whole_last_is_left(folder, caplog):
    before = sorted(folder.iterdir())
    mend_last(folder)
    assert newest_whole(folder) == ((folder / "checkpoint_last.pt", 24), [])
    assert sorted(folder.iterdir()) == before and not caplog.records


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_broken_last_is_kept_aside(folder, damage, caplog):
    damage(folder / "checkpoint_last.pt")
    broken = (folder / "checkpoint_last.pt").read_bytes()
    damage(folder / "checkpoint_2_24.pt")
    with caplog.at_level(logging.WARNING):
        mend_last(folder)
    assert last_of(folder) == 16
    assert (folder / "checkpoint_last.pt.broken").read_bytes() == broken
    (message,) = [record.getMessage() for record in caplog.records]
    assert "going on from the newest whole checkpoint, " in message and "of update 16" in message
    for name in ("checkpoint_last.pt", "checkpoint_2_24.pt"):
        assert f"{folder / name} is broken: " in message
    assert "kept as checkpoint_last.pt.broken" in message and "\n" not in message


def test_a_last_that_was_not_reached_yet(folder, caplog):
    """The training was killed between a checkpoint and its copy, at its first save or later."""
    (folder / "checkpoint_last.pt").unlink()
    mend_last(folder)
    assert last_of(folder) == 24
    save(folder / "checkpoint_3_32.pt", 32)
    os.utime(folder / "checkpoint_last.pt", (20, 20))
    mend_last(folder)
    assert last_of(folder) == 32
    assert not (folder / "checkpoint_last.pt.broken").exists()


def test_an_earlier_checkpoint_put_in_place_of_the_last(folder):
    save(folder / "checkpoint_last.pt", 8)
    mend_last(folder)
    assert last_of(folder) == 8


def test_nothing_whole(folder, tmp_path):
    for path in folder.glob("checkpoint*.pt"):
        truncate(path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="checkpoint_last.pt cannot be read, .*train anew"):
        mend_last(folder)
    last = (folder / "checkpoint_last.pt").rename(folder / "away.pt")
    mend_last(folder)
    last.rename(folder / "checkpoint_last.pt")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert what_is_left(folder) == f"no checkpoint was saved in {folder} before"
    assert newest_whole(folder / "nowhere") == (None, [])


def test_leftovers_are_removed_and_nothing_else(folder):
    parts = [".checkpoint_last.pt.1a2b.part", ".crash.pt.3c4d.part"]
    others = [".average.pt.1a2b.part", "checkpoint_last.pt.part", ".checkpoint_last.pt"]
    for name in parts + others:
        save(folder / name, 99)
    assert newest_whole(folder)[0].updates == 24
    remove_leftovers(folder)
    assert [(folder / name).exists() for name in parts + others] == [False] * 2 + [True] * 3
