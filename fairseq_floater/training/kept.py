"""What of a save folder is whole: its checkpoints, how far each has come, and what a kill left."""

import re
import zipfile
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

import torch

#: the checkpoint that fairseq goes on from
LAST = "checkpoint_last.pt"

#: all that fairseq saves to go on from; not its ``crash.pt``, the state of a training that failed
_NAMES = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+)\.pt")

#: what ``files.written_whole`` writes to until a checkpoint is complete
_LEFTOVERS = re.compile(r"\.(checkpoint.*|crash)\.pt\..+\.part")


class Kept(NamedTuple):
    """A checkpoint that can be gone on from."""

    path: Path
    updates: int

    def __str__(self) -> str:
        return f"{self.path} of update {self.updates}"


class Broken(NamedTuple):
    """A checkpoint that cannot be read, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is broken: {self.reason}"


def remove_leftovers(folder: Path) -> None:
    """Delete the files that a killed training was writing."""
    for path in folder.glob(".*.part"):
        if _LEFTOVERS.fullmatch(path.name):
            path.unlink(missing_ok=True)


def newest_whole(folder: Path) -> Tuple[Optional[Kept], List[Broken]]:
    """The checkpoint to go on from, and those that were found to be broken on the way to it.

    That is the one with most updates. But a whole ``checkpoint_last.pt`` is left for those only
    that were written after it: whoever puts an earlier checkpoint in its place wants to go back.
    """
    broken: List[Broken] = []
    found: List[Kept] = []
    for path in sorted(folder.glob("checkpoint*.pt")) if folder.is_dir() else ():
        if _NAMES.fullmatch(path.name):
            try:
                found.append(Kept(path, _updates(path)))
            except _Unreadable as error:
                broken.append(Broken(path, str(error)))
    found.sort(key=lambda kept: (kept.updates, kept.path.name == LAST), reverse=True)
    whole = _whole(found, broken)
    newest = next(whole, None)
    if newest is None or newest.path.name == LAST:
        return newest, broken
    last = next((kept for kept in whole if kept.path.name == LAST), None)
    if last is not None and last.path.stat().st_mtime_ns > newest.path.stat().st_mtime_ns:
        return last, broken
    return newest, broken


def what_is_left(folder: Path) -> str:
    """In words, what a training in this folder can go on from."""
    newest, _ = newest_whole(folder)
    if newest is None:
        return f"no checkpoint was saved in {folder} before"
    return f"the newest whole checkpoint is {newest}"


def _whole(found: List[Kept], broken: List[Broken]) -> Iterator[Kept]:
    """Those whose every byte is as it was written; the others are added to ``broken``."""
    for kept in found:
        if reason := _damage(kept.path):
            broken.append(Broken(kept.path, reason))
        else:
            yield kept


class _Unreadable(Exception):
    """A file is no checkpoint; the message says why."""


def _updates(path: Path) -> int:
    """After how many updates it was saved. Of a large file only the structure is read."""
    try:
        state: Any = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
        return int(state["optimizer_history"][-1]["num_updates"])
    except PermissionError:
        raise
    except Exception as error:  # torch's reasons for a bad file are of every kind, also EINVAL
        raise _Unreadable("it is truncated or no checkpoint of a training") from error


def _damage(path: Path) -> Optional[str]:
    """What differs from what was written, by the checksums of a zip file, as torch writes."""
    if not zipfile.is_zipfile(path):
        return None  # of an old version of torch, which ``_updates`` has read
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except (zipfile.BadZipFile, EOFError) as error:
        return str(error)
    return f"the checksum of {member} is wrong" if member else None
