"""The average of several checkpoints' weights, as a checkpoint (Vaswani et al. 2017)."""

import re
from pathlib import Path
from typing import Dict, List, Sequence

from torch import Tensor

from fairseq_floater.checkpoints.files import write_checkpoint
from fairseq_floater.checkpoints.loading import read_existing
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file
from fairseq_floater.models.baked import drop_baked
from fairseq_floater.models.renamed import with_new_names


def average_checkpoints(checkpoints: Sequence[Path], output: Path) -> None:
    """Write the average of ``checkpoints`` to ``output``, without the optimizer's state.

    All else is the last one's. Sums are in float64, whatever the weights are stored in. Baked
    tables are left out: ``floater bake`` makes new ones.

    Raises:
        UserError: if a checkpoint cannot be read, or holds other weights than the first.
    """
    require_other_file(output, *checkpoints)
    sums: Dict[str, Tensor] = {}
    for path in checkpoints:
        state = read_existing(path)
        weights = with_new_names(state["model"])
        drop_baked(weights)  # the mean of two solutions solves nothing
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        if sums and shapes != {name: tuple(total.shape) for name, total in sums.items()}:
            raise UserError(
                f"{path} holds other weights than {checkpoints[0]}: average checkpoints of one "
                "training only"
            )
        for name, weight in weights.items():
            sums[name] = sums.get(name, 0) + weight.double()
    state["model"] = {
        name: (total / len(checkpoints)).to(weights[name].dtype) for name, total in sums.items()
    }
    state["last_optimizer_state"] = None
    write_checkpoint(state, output)


def last_checkpoints(folder: Path, count: int) -> List[Path]:
    """The last ``count`` checkpoints of a training, by epoch, or by update if there are such.

    Raises:
        UserError: if there are fewer.
    """
    numbered: Dict[bool, Dict[int, Path]] = {}
    for path in folder.glob("checkpoint*.pt"):
        if found := re.fullmatch(r"checkpoint(?:_\d+_)?(\d+)\.pt", path.name):
            by_update = path.name.startswith("checkpoint_")
            numbered.setdefault(by_update, {})[int(found[1])] = path
    available = numbered.get(True) or numbered.get(False) or {}
    if len(available) < count:
        raise UserError(
            f"{folder} has {len(available)} checkpoints to average, {count} are wanted: train "
            f"longer, keep more (--keep-last-epochs {count}), or average fewer"
        )
    return [available[number] for number in sorted(available)[-count:]]
