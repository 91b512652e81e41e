"""What of a save folder is whole: its checkpoints, how far each has come, and what a kill left."""

import argparse
import filecmp
import re
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import torch

from fairseq_floater.errors import DamagedCheckpoint, UserError
from fairseq_floater.intact import require_intact, unreadable

#: the checkpoint that fairseq goes on from, and the one whose score on the validation set is best
LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"

#: all that fairseq saves to go on from; not its ``crash.pt``, the state of a training that failed
_NAMES = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|_last|\.best_.+)\.pt")


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


def newest_whole(folder: Path, base: Optional[str] = None) -> Tuple[Optional[Kept], List[Broken]]:
    """The checkpoint to go on from, and those that were found to be broken on the way to it.

    That is the one with most updates. But a whole ``checkpoint_last.pt`` is left for those only
    that were written after it: whoever puts an earlier checkpoint in its place wants to go back.

    Args:
        folder: to look in.
        base: of ``--finetune-from-model``, see ``own_checkpoints``.

    Raises:
        UserError: if one cannot be read, through no fault of its own.
    """
    broken: List[Broken] = []
    found: List[Kept] = []
    for path in own_checkpoints(folder, base):
        try:
            found.append(Kept(path, _updates(path)))
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
    """Those of ``checkpoints_in`` that a training in ``folder`` may go on from.

    Without a ``checkpoint_last.pt``, a training that starts from a model in its own folder,
    ``base``, goes on from what itself has saved: others are of the training of that model.
    """
    found = checkpoints_in(folder)
    if not base or (folder / LAST).exists() or Path(base).parent.resolve() != folder.resolve():
        return found
    return [path for path in found if _started_from(path, base)]


def _started_from(path: Path, base: str) -> bool:
    """Whether a checkpoint says that its training started from ``base``; not where it is broken."""
    try:
        given = options_in(state_of(path), "checkpoint").get("finetune_from_model")
    except DamagedCheckpoint:
        return False
    return isinstance(given, str) and Path(given).resolve() == Path(base).resolve()


def is_only_copy(path: Path) -> bool:
    """Whether no other checkpoint of its folder holds the same bytes."""
    others = (other for other in checkpoints_in(path.parent) if other != path)
    return not any(filecmp.cmp(path, other, shallow=False) for other in others if other.is_file())


def should_be_best(newest: Kept) -> bool:
    """Whether fairseq ended between saving it and copying it to ``checkpoint_best.pt``.

    By then the best score is its own, so that only a better one would be copied there later.
    """
    scores = state_of(newest.path).get("extra_state")
    score = scores.get("val_loss") if isinstance(scores, dict) else None
    if score is None or score != scores.get("best"):
        return False
    try:
        return _updates(newest.path.with_name(BEST)) < newest.updates
    except DamagedCheckpoint:  # there is none, perhaps
        return True


def what_is_left(folder: Path) -> str:
    """In words, what a training in this folder can go on from."""
    try:
        newest, _ = newest_whole(folder)
    except (UserError, OSError) as error:
        return f"what is left in {folder} could not be read: {error}"
    if newest is None:
        return f"no checkpoint was saved in {folder} before"
    return f"the newest whole checkpoint is {newest}"


def _whole(found: List[Kept], broken: List[Broken]) -> Iterator[Kept]:
    """Those whose every byte is as it was written; the others are added to ``broken``."""
    for kept in found:
        try:
            require_intact(kept.path)
        except DamagedCheckpoint as error:
            broken.append(Broken(kept.path, error.reason))
        else:
            yield kept


def checkpoints_in(folder: Path) -> List[Path]:
    """All that a training may go on from, whole or not, by name."""
    found = folder.glob("checkpoint*.pt") if folder.is_dir() else ()
    return sorted(path for path in found if _NAMES.fullmatch(path.name))


def _since(path: Path) -> int:
    """When a file came to its place, in nanoseconds; a file that is moved keeps its other times."""
    return path.lstat().st_ctime_ns


def _updates(path: Path) -> int:
    """After how many updates it was saved; raises as ``state_of``."""
    state = state_of(path)
    try:
        return int(state["optimizer_history"][-1]["num_updates"])
    except Exception as error:  # it may be of any shape
        raise unreadable(path, error) from error


def options_in(state: Any, part: str) -> Dict[str, Any]:
    """The options in a checkpoint of fairseq's, of any age; empty where there are none.

    Args:
        state: what ``state_of`` gives.
        part: of them, such as ``model``, ``task`` or ``checkpoint``; older ones have all in one.
    """
    if not isinstance(state, Mapping):
        return {}
    cfg = state.get("cfg")
    found = cfg.get(part) if isinstance(cfg, Mapping) else state.get("args")
    if isinstance(found, argparse.Namespace):
        return dict(vars(found))
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def state_of(path: Path) -> Any:
    """What is in a checkpoint. Of a large file only the structure is read.

    Raises:
        DamagedCheckpoint: if it is none, or none is there.
        UserError: if it cannot be read, through no fault of its own.
    """
    try:
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except PermissionError:
        raise
    except Exception as error:  # torch's reasons for a bad file are of every kind, also EINVAL
        raise unreadable(path, error) from error
