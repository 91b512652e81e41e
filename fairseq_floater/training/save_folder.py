"""Find the whole checkpoints of a save folder, even after a kill, and how far each has come."""

import argparse
import filecmp
import re
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import torch

from fairseq_floater.checksums import is_refusal, require_intact, unreadable
from fairseq_floater.errors import DamagedCheckpoint, UserError

#: the checkpoint that fairseq resumes from, and the one with the best score on the validation set
LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"

#: all checkpoints that fairseq saves to resume from; not ``crash.pt``, left by a failed training
_NAMES = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+)\.pt")


class Kept(NamedTuple):
    """A checkpoint that a training can resume from."""

    path: Path
    updates: int

    def __str__(self) -> str:
        return f"{self.path} of update {self.updates}"


class Broken(NamedTuple):
    """A checkpoint that cannot be read, with the reason."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is broken: {self.reason}"


def newest_whole(folder: Path, base: Optional[str] = None) -> Tuple[Optional[Kept], List[Broken]]:
    """Return the checkpoint to resume from, and the broken ones found while looking for it.

    It is the whole checkpoint with the most updates. However, a whole ``checkpoint_last.pt`` is
    passed over only for one that was written after it: someone who puts an earlier checkpoint in
    its place wants to go back.

    Args:
        folder: the folder to look in.
        base: the value of ``--finetune-from-model``, see ``own_checkpoints``.

    Raises:
        UserError: if a checkpoint cannot be read, through no fault of its own.
    """
    broken: List[Broken] = []
    found: List[Kept] = []
    for path in own_checkpoints(folder, base):
        try:
            found.append(Kept(path, updates_of(path)))
        except DamagedCheckpoint as error:
            broken.append(Broken(path, error.reason))
    found.sort(key=lambda kept: (kept.updates, kept.path.name == LAST), reverse=True)
    whole = _whole(found, broken)
    newest = next(whole, None)
    if newest is None or newest.path.name == LAST:
        return newest, broken
    last = next((kept for kept in whole if kept.path.name == LAST), None)
    if last is not None and _since(last.path) > _since(newest.path):
        return last, broken
    return newest, broken


def own_checkpoints(folder: Path, base: Optional[str] = None) -> List[Path]:
    """Return those of ``checkpoints_in`` that a training in ``folder`` may resume from.

    If there is no ``checkpoint_last.pt``, a training that starts from a model in its own folder,
    ``base``, resumes only from what it has saved itself: the other checkpoints belong to the
    training of that model.
    """
    found = checkpoints_in(folder)
    if not base or (folder / LAST).exists() or Path(base).parent.resolve() != folder.resolve():
        return found
    return [path for path in found if _started_from(path, base)]


def _started_from(path: Path, base: str) -> bool:
    """True if a checkpoint says that its training started from ``base``; False if it is broken."""
    try:
        given = options_in(state_of(path), "checkpoint").get("finetune_from_model")
    except DamagedCheckpoint:
        return False
    return isinstance(given, str) and Path(given).resolve() == Path(base).resolve()


def is_only_copy(path: Path) -> bool:
    """True if no other checkpoint in its folder holds the same bytes."""
    others = (other for other in checkpoints_in(path.parent) if other != path)
    return not any(filecmp.cmp(path, other, shallow=False) for other in others if other.is_file())


def should_be_best(newest: Kept) -> bool:
    """True if fairseq ended after saving ``newest``, before copying it to ``checkpoint_best.pt``.

    By then the best score is its own, so only a checkpoint with a better one would be copied there
    later.
    """
    scores = state_of(newest.path).get("extra_state")
    score = scores.get("val_loss") if isinstance(scores, dict) else None
    if score is None or score != scores.get("best"):
        return False
    try:
        return updates_of(newest.path.with_name(BEST)) < newest.updates
    except DamagedCheckpoint:  # perhaps there is none
        return True


def what_is_left(folder: Path) -> str:
    """Describe what a training in this folder can resume from."""
    try:
        newest, _ = newest_whole(folder)
    except (UserError, OSError) as error:
        return f"what is left in {folder} could not be read: {error}"
    if newest is None:
        return f"no checkpoint was saved in {folder} before"
    return f"the newest whole checkpoint is {newest}"


def _whole(found: List[Kept], broken: List[Broken]) -> Iterator[Kept]:
    """Yield those whose bytes are all as they were written; add the others to ``broken``."""
    for kept in found:
        try:
            require_intact(kept.path)
        except DamagedCheckpoint as error:
            broken.append(Broken(kept.path, error.reason))
        else:
            yield kept


def checkpoints_in(folder: Path) -> List[Path]:
    """Return all checkpoints that a training may resume from, whole or not, sorted by name."""
    found = folder.glob("checkpoint*.pt") if folder.is_dir() else ()
    return sorted(path for path in found if _NAMES.fullmatch(path.name))


def _since(path: Path) -> int:
    """Return when a file came to its place, in nanoseconds; a moved file keeps its other times."""
    return path.lstat().st_ctime_ns


def updates_of(path: Path) -> int:
    """Return after how many updates a file was saved; raises as ``state_of`` does."""
    state = state_of(path)
    try:
        return int(state["optimizer_history"][-1]["num_updates"])
    except Exception as error:  # it may have any shape
        raise unreadable(path, error) from error


def options_in(state: Any, part: str) -> Dict[str, Any]:
    """Return the options in a fairseq checkpoint of any age; empty if there are none.

    Args:
        state: what ``state_of`` returns.
        part: the part of the options, such as ``model``, ``task`` or ``checkpoint``; older
            checkpoints have all of them in one.
    """
    if not isinstance(state, Mapping):
        return {}
    cfg = state.get("cfg")
    found = cfg.get(part) if isinstance(cfg, Mapping) else state.get("args")
    if isinstance(found, argparse.Namespace):
        return dict(vars(found))
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def state_of(path: Path) -> Any:
    """Return the content of a checkpoint. Of a large file, only the structure is read.

    Raises:
        DamagedCheckpoint: if the file is not a checkpoint, or does not exist.
        UserError: if it cannot be read, through no fault of its own, or is refused.
    """
    try:
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except PermissionError:
        raise
    except Exception as error:  # torch raises errors of every kind for a bad file, even EINVAL
        if is_refusal(error) and path.is_file():
            require_intact(path)  # or else it is damaged
        raise unreadable(path, error) from error
