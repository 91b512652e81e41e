"""Average the weights of several checkpoints into one checkpoint (Vaswani et al. 2017)."""

import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from fairseq_floater.checkpoints.files import forget_training, write_checkpoint
from fairseq_floater.checkpoints.loading import read_existing
from fairseq_floater.checkpoints.options import options_of
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file
from fairseq_floater.models.baked import drop_baked
from fairseq_floater.models.config import ModelConfig, different_computation
from fairseq_floater.models.description import model_options
from fairseq_floater.models.kinds import kind_of
from fairseq_floater.models.renamed import with_new_names
from fairseq_floater.models.warm_start import different_weights, first_named


def average_checkpoints(checkpoints: Sequence[Path], output: Path) -> None:
    """Write the average of ``checkpoints`` to ``output``, without the optimizer's state.

    Everything else is taken from the last checkpoint. Sums are computed in float64, whatever the
    type of the weights. Baked tables are left out: ``floater bake`` makes new ones.

    Raises:
        UserError: if a checkpoint cannot be read, has weights of other names, shapes or kinds or
            other whole numbers than the first, or is of a model that computes something else. The
            message names the weight or the option.
    """
    require_other_file(output, *checkpoints)
    first: Optional[_Averaged] = None
    sums: Dict[str, Tensor] = {}
    for path in checkpoints:
        state = read_existing(path)
        weights = with_new_names(state["model"])
        drop_baked(weights)  # the mean of two solutions solves nothing
        known = model_options(state) and kind_of(model_options(state))
        this = _Averaged(path, weights, options_of(path, state) if known else None)
        first = first or this
        _require_same(first, this)
        for name, weight in weights.items():
            if weight.is_floating_point():
                sums[name] = sums.get(name, 0) + weight.double()
    state["model"] = {
        name: (sums[name] / len(checkpoints)).to(weight.dtype) if name in sums else weight
        for name, weight in weights.items()
    }
    forget_training(state)
    write_checkpoint(state, output)


class _Averaged(NamedTuple):
    """One of the checkpoints to average; ``options`` is None if its model is not a known one."""

    path: Path
    weights: Mapping[str, Tensor]
    options: Optional[ModelConfig]


def _require_same(first: _Averaged, other: _Averaged) -> None:
    """Raise a ``UserError`` if the two models differ, so that their mean is of neither."""
    different = different_weights(other.weights, first.weights) or [
        f"{name} holds whole numbers, which differ here"
        for name, weight in first.weights.items()
        if not weight.is_floating_point() and not torch.equal(weight, other.weights[name])
    ]
    if first.options and other.options:
        different += different_computation(other.options, first.options)
    if different:
        raise UserError(
            f"{other.path} is of another model than {first.path}: "
            f"{'; '.join(first_named(different))} (average checkpoints of one training only)"
        )


def last_checkpoints(folder: Path, count: int) -> List[Path]:
    """Return the last ``count`` checkpoints of a training by update or, if too few, by epoch.

    Raises:
        UserError: if there is no such folder, if there are too few checkpoints of either kind, or
            if two are of the same update.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give a --save-dir with --last, or files without it")
    by_update: Dict[int, Path] = {}
    by_epoch: Dict[int, Path] = {}
    for path in sorted(folder.glob("checkpoint*.pt")):
        if found := re.fullmatch(r"checkpoint(_\d+_)?(\d+)\.pt", path.name):
            first = (by_update if found[1] else by_epoch).setdefault(int(found[2]), path)
            if first != path:
                raise UserError(
                    f"{first} and {path.name} are of the same update, so one of them is of another "
                    "training: move it elsewhere"
                )
    for available in (by_update, by_epoch):
        if len(available) >= count:
            return [available[number] for number in sorted(available)[-count:]]
    raise UserError(
        f"{folder} has {len(by_update)} checkpoints by update and {len(by_epoch)} by epoch to "
        f"average, but {count} are wanted: train longer, keep more (--keep-last-epochs {count}), "
        "or average fewer"
    )
