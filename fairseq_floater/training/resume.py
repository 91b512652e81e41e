"""Resume from the newest whole checkpoint, and only with an optimizer state of the same model."""

import functools
import itertools
import logging
import os
import zipfile
from pathlib import Path
from typing import Any, Callable, Optional

import torch

from fairseq_floater.errors import OTHER_OPTIMIZER, UserError
from fairseq_floater.files import remove_leftovers
from fairseq_floater.training.patience import is_exhausted
from fairseq_floater.training.save_folder import (
    BEST,
    LAST,
    is_only_copy,
    newest_whole,
    should_be_best,
)
from fairseq_floater.training.saving import copy_checkpoint

logger = logging.getLogger(__name__)


def from_newest_whole(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``load_checkpoint``, which by default resumes from ``checkpoint_last.pt``.

    A training that is killed may leave only a part of that file, or no such file beside whole
    checkpoints. The first process puts the newest whole one in its place before any process looks.
    """

    @functools.wraps(load)
    def load_newest(cfg: Any, trainer: Any, **arguments: Any) -> Any:
        if trainer.data_parallel_rank == 0:
            remove_leftovers(Path(cfg.save_dir))
            if cfg.restore_file == LAST and not trainer.checkpoint_suffix:
                mend_last(Path(cfg.save_dir), cfg.finetune_from_model)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        loaded = load(cfg, trainer, **arguments)
        require_own_state(trainer.optimizer)
        _end_what_has_ended(trainer)
        return loaded

    return load_newest


def _end_what_has_ended(trainer: Any) -> None:
    """Prevent the extra update that fairseq makes in a training that has had all its updates.

    Also prevent the extra epoch of one that has ended by ``--patience``, and the update of one that
    has ended by ``--stop-time-hours``. A new training makes its first update in any case.
    """
    optimization, updates = trainer.cfg.optimization, trainer.get_num_updates()
    hours = optimization.stop_time_hours or 0
    why = ""
    if 0 < (optimization.max_update or 0) <= updates:
        why = f"update {updates} is the last of --max-update"
    elif updates and 0 < hours < trainer.cumulative_training_time() / 3600:
        why = f"it has taken the {hours:g} hours of --stop-time-hours"
    elif is_exhausted(patience := trainer.cfg.checkpoint.patience):
        why = f"the last {patience} validations were no better, and --patience is {patience}"
    if why:
        logger.info(f"nothing is left to train: {why}")
        optimization.max_epoch = -1


def mend_last(folder: Path, base: Optional[str] = None) -> None:
    """Make ``checkpoint_last.pt`` the newest whole checkpoint of ``folder``, and log it.

    A broken one is kept beside it as ``checkpoint_last.pt.broken``, and one that exists nowhere
    else as ``checkpoint_last.pt.before``; a number follows if there is such a file already. If the
    newest checkpoint has the best score but is not yet ``checkpoint_best.pt``, it is copied there
    as well. For ``base``, see ``save_folder.own_checkpoints``.

    Raises:
        UserError: if there is only a part of a checkpoint and nothing else to resume from, or if
            one cannot be read, through no fault of its own.
    """
    last = folder / LAST
    newest, broken = newest_whole(folder, base)
    if newest is None and last.is_file() and not zipfile.is_zipfile(last):
        raise UserError(
            f"checkpoint {last} cannot be read, it is truncated or not a fairseq checkpoint, and "
            f"{folder} has no whole one: put one there, or delete it to train from the start"
        )
    if newest is None:  # fairseq starts from the beginning, or says why it cannot
        return
    broken_paths = [one.path for one in broken]
    if should_be_best(newest):
        best = folder / BEST
        if best in broken_paths:
            logger.warning(_put_aside(best, "broken"))
        copy_checkpoint(newest.path, best)
        logger.warning(f"{BEST} is now {newest}, which has the best score")
    if newest.path == last:
        return
    why = [str(one) for one in broken]
    if last in broken_paths:
        why.append(_put_aside(last, "broken"))
    elif last.is_file() and not last.is_symlink() and is_only_copy(last):
        why.append(_put_aside(last, "before"))
    copy_checkpoint(newest.path, last)
    because = f" ({', '.join(why)})" if why else ""
    logger.warning(f"resuming from the newest whole checkpoint, {newest}{because}")


def _put_aside(path: Path, ending: str) -> str:
    """Rename a checkpoint so that it is kept, beside what was kept before; return what was done."""
    names = (f"{path.name}.{ending}{number or ''}" for number in itertools.count())
    aside = next(name for name in names if not os.path.lexists(path.with_name(name)))
    os.replace(path, path.with_name(aside))
    return f"{path.name} is kept as {aside}"


def require_own_state(optimizer: Any) -> None:
    """Refuse a fairseq optimizer that has loaded the state of another model.

    torch compares only the number of parameters. In half precision, every model has one flat
    parameter as long as the model; in full precision, two models may have as many by chance.

    Raises:
        UserError: if the moments of a parameter have sizes other than its own. (Adafactor has some
            with fewer dimensions.)
    """
    inner = optimizer.optimizer
    for one in getattr(inner, "optimizers", {}).values():  # of a composite optimizer
        require_own_state(one)
    for parameter, state in getattr(inner, "state", {}).items():
        for value in state.values():
            moments = isinstance(value, torch.Tensor) and value.dim() == parameter.dim() > 0
            if moments and value.shape != parameter.shape:
                raise UserError(OTHER_OPTIMIZER)
