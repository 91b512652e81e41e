"""Going on with an optimizer's state that is not this model's."""

from typing import Any, Dict

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fairseq_floater.errors import OTHER_OPTIMIZER, UserError


def refuse_other_states() -> None:
    """Have every optimizer of this process look at its state before it steps.

    torch compares how many parameters there are, which in half precision is one, flat and as long
    as the model, in every model.
    """
    register_optimizer_step_pre_hook(_require_own_state)


def _require_own_state(optimizer: torch.optim.Optimizer, args: tuple, kwargs: Dict[str, Any]):
    for parameter, state in optimizer.state.items():
        for value in state.values() if parameter.dim() == 1 else ():
            moments = isinstance(value, torch.Tensor) and value.dim() == 1
            if moments and value.shape != parameter.shape:
                raise UserError(OTHER_OPTIMIZER)
