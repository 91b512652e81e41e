"""Which checkpoint of a save folder a training resumes from."""

import errno
import logging
import os
import shutil

import pytest
import torch

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.errors import UserError
from fairseq_floater.files import remove_leftovers, written_whole
from fairseq_floater.training.resume import mend_last
from fairseq_floater.training.save_folder import newest_whole, what_is_left
from fairseq_floater.training.saving import copying_whole, saving_whole


def save(path, updates, score=None, best=None):
    history, scores = [{"num_updates": updates}], {"val_loss": score, "best": best}
    model = {"a": torch.full((5000,), updates)}
    torch.save({"optimizer_history": history, "model": model, "extra_state": scores}, path)
    put_now(path)


def put_now(path):
    """Make ``path`` the newest of all files by their clock, which is not exact."""
    others = [other for other in path.parent.iterdir() if other != path]
    while any(path.lstat().st_ctime_ns <= other.lstat().st_ctime_ns for other in others):
        os.utime(path, follow_symlinks=False)


@pytest.fixture
def folder(tmp_path):
    """As after 24 updates, newest files last; a training does not resume from ``crash.pt`` etc."""
    names = {
        **{"checkpoint_1_8.pt": 8, "checkpoint1.pt": 10, "checkpoint_2_16.pt": 16},
        **{"checkpoint_best.pt": 16, "checkpoint_2_24.pt": 24, "checkpoint_last.pt": 24},
        **{"crash.pt": 99, "average.pt": 99, "checkpoint_mine.pt": 99},
    }
    for name, updates in names.items():
        save(tmp_path / name, updates)
    return tmp_path


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    """Flip one bit in the middle, where the weights are."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def last_of(folder, name="checkpoint_last.pt"):
    return torch.load(folder / name)["optimizer_history"][-1]["num_updates"]


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
    assert "resuming from the newest whole checkpoint, " in message and "of update 16" in message
    for name in ("checkpoint_last.pt", "checkpoint_2_24.pt"):
        assert f"{folder / name} is broken: " in message
    assert "kept as checkpoint_last.pt.broken" in message and "\n" not in message


def test_a_last_that_was_not_reached_yet(folder, caplog):
    """The training was killed between a checkpoint and its copy, at its first save or later."""
    (folder / "checkpoint_last.pt").unlink()
    mend_last(folder)
    assert last_of(folder) == 24
    save(folder / "checkpoint_3_32.pt", 32)
    mend_last(folder)
    assert last_of(folder) == 32
    assert not list(folder.glob("checkpoint_last.pt.*"))


def copied(path, last):
    shutil.copyfile(path, last)


def linked(path, last):
    last.unlink()
    last.symlink_to(path.name)


@pytest.mark.parametrize("put", [copied, shutil.copy2, os.replace, linked])
def test_an_earlier_checkpoint_put_in_place_of_the_last(put, folder):
    put(folder / "checkpoint_1_8.pt", folder / "checkpoint_last.pt")
    put_now(folder / "checkpoint_last.pt")
    before = sorted(folder.iterdir())
    mend_last(folder)
    assert last_of(folder) == 8 and sorted(folder.iterdir()) == before


def test_nothing_is_written_through_a_link(folder):
    """The linked file, an earlier checkpoint, stays: when we write, or fairseq saves or copies."""
    early, last = folder / "checkpoint_1_8.pt", folder / "checkpoint_last.pt"
    copy = copying_whole(None)
    newer = folder / "checkpoint_3_32.pt"
    for number, write in enumerate((
        lambda: save(newer, 32) or mend_last(folder),
        lambda: copy(str(newer), str(last), overwrite=True),
        lambda: saving_whole(None)(torch.load(newer), str(last)),
    )):  # fmt: skip
        linked(early, last)
        write()
        assert last_of(folder, early.name) == 8 and last_of(folder) == 32, number
        assert not last.is_symlink() and not list(folder.glob("checkpoint_last.pt.*"))


def test_a_last_that_is_nowhere_else_is_kept(folder, caplog):
    save(folder / "checkpoint_last.pt", 9)
    save(folder / "checkpoint_3_32.pt", 32)
    mend_last(folder)
    assert (last_of(folder), last_of(folder, "checkpoint_last.pt.before")) == (32, 9)
    assert caplog.messages[-1].endswith(
        "checkpoint_3_32.pt of update 32 (checkpoint_last.pt is kept as checkpoint_last.pt.before)"
    )


def test_the_best_that_was_not_reached_yet(folder, caplog):
    """The training was killed before the copy to checkpoint_best.pt, or to checkpoint_last.pt."""
    best = folder / "checkpoint_best.pt"
    save(folder / "checkpoint_3_32.pt", 32, score=2.5, best=2.0)
    mend_last(folder)
    assert last_of(folder, best.name) == 16
    save(folder / "checkpoint_4_40.pt", 40, score=1.5, best=1.5)
    mend_last(folder)
    assert last_of(folder, best.name) == last_of(folder) == 40
    assert f"{best.name} is now {folder}/checkpoint_4_40.pt of update 40" in caplog.text
    best.unlink()  # no score is better
    mend_last(folder)
    assert last_of(folder, best.name) == 40
    save(best, 41)
    mend_last(folder)
    assert last_of(folder, best.name) == 41


FAULTS = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    MemoryError(),
    RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("where", ["torch.load", "zipfile.ZipFile"])
def test_faults_of_the_machine_are_no_damage(where, fault, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args, **kwargs):
        raise fault

    monkeypatch.setattr(where, fail)
    line = "checkpoint .* could not be read, but may be intact .*: free some memory"
    with pytest.raises(UserError, match=line) as error:
        mend_last(folder)
    assert "\n" not in str(error.value)
    assert what_is_left(folder).startswith(f"what is left in {folder} could not be read: ")
    with pytest.raises(UserError, match=line):
        read_checkpoint(str(folder / "checkpoint_last.pt"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_best_of_several_is_gone_on_from(tmp_path):
    """--keep-best-checkpoints leaves files with such names."""
    best = tmp_path / "checkpoint.best_loss_2.5000.pt"
    save(best, 16)
    assert newest_whole(tmp_path)[0] == (best, 16)


@pytest.mark.parametrize(
    "source, why", [("/proc/self/mem", "Input/output error"), ("/proc/self", "Is a directory")]
)
def test_what_cannot_be_read_is_not_what_cannot_be_written(source, why, folder):
    """Reading memory fails, since nothing is mapped at its beginning; a folder is not opened."""
    last = folder / "checkpoint_last.pt"
    with pytest.raises(UserError, match=f"{source} cannot be read: {why}: check"):
        copying_whole(None)(source, str(last), overwrite=True)
    assert last_of(folder) == 24


def test_files_without_sums_are_whole(tmp_path):
    sums = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        save(tmp_path / "checkpoint_1_8.pt", 8)
    finally:
        torch.serialization.set_crc32_options(sums)
    mend_last(tmp_path)
    assert last_of(tmp_path) == 8


class Unknown:
    """What a pickle can name, but a checkpoint of fairseq does not hold."""


def test_a_whole_checkpoint_that_is_refused_is_not_passed_over(folder):
    """It would be overwritten by a training that goes on from an older one."""
    path = folder / "checkpoint_last.pt"
    torch.save({**torch.load(path), "more": Unknown()}, path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="checkpoint_last.pt holds more than plain data .*Unknown"):
        mend_last(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_put_aside_is_never_written_over(folder, caplog):
    """Not even the best checkpoint, if it is broken and another one has the best score."""
    save(folder / "checkpoint_2_24.pt", 24, score=3.0, best=3.0)
    for name in ("checkpoint_best.pt", "checkpoint_last.pt"):
        truncate(folder / name)
    kept = {name: (folder / f"checkpoint_{name}.pt").read_bytes() for name in ("best", "last")}
    mend_last(folder)
    assert last_of(folder) == last_of(folder, "checkpoint_best.pt") == 24
    truncate(folder / "checkpoint_last.pt")
    assert "checkpoint_best.pt is kept as checkpoint_best.pt.broken" in caplog.text
    again = (folder / "checkpoint_last.pt").read_bytes()
    mend_last(folder)
    assert (folder / "checkpoint_last.pt.broken1").read_bytes() == again
    for name, content in kept.items():
        assert (folder / f"checkpoint_{name}.pt.broken").read_bytes() == content


def test_nothing_whole(folder, tmp_path):
    for path in folder.glob("checkpoint*.pt"):
        truncate(path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match="checkpoint_last.pt cannot be read, .*from the start"):
        mend_last(folder)
    last = (folder / "checkpoint_last.pt").rename(folder / "away.pt")
    mend_last(folder)
    last.rename(folder / "checkpoint_last.pt")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert what_is_left(folder) == f"no checkpoint was saved in {folder} before"
    assert newest_whole(folder / "nowhere") == (None, [])


def test_leftovers_are_removed_and_nothing_else(folder):
    parts = [f".{name}.pt.{'1a' * 8}.part" for name in ("checkpoint_last", "crash", "average")]
    others = [".checkpoint_last.pt.1a2b.part", "checkpoint_last.pt.part", ".checkpoint_last.pt"]
    for name in parts + others:
        save(folder / name, 99)
    assert newest_whole(folder)[0].updates == 24
    with written_whole(folder / "average.pt"):  # which removes what is left of its own file
        assert not (folder / parts[-1]).exists() and (folder / parts[0]).exists()
    remove_leftovers(folder)
    assert [(folder / name).exists() for name in parts + others] == [False] * 3 + [True] * 3


def test_what_another_training_is_writing_stays(folder):
    with written_whole(folder / "checkpoint_last.pt") as file:
        file.write(b"mine")
        remove_leftovers(folder)
        with written_whole(folder / "checkpoint_last.pt") as other:
            other.write(b"other")
    assert (folder / "checkpoint_last.pt").read_bytes() == b"mine"
