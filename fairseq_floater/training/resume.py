"""Going on with an optimizer's state that is not this model's."""

from typing import Any, Dict, Tuple

import torch

from fairseq_floater.errors import OTHER_OPTIMIZER, UserError


def require_own_state(optimizer: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    """To be called before a step of any ``torch.optim.Optimizer``.

    torch compares how many parameters there are, which in half precision is one, flat and as long
    as the model, in every model.

    Raises:
        UserError: if the moments of a flat parameter are not as long as it is.
    """
    for parameter, state in optimizer.state.items():
        for value in state.values() if parameter.dim() == 1 else ():
            moments = isinstance(value, torch.Tensor) and value.dim() == 1
            if moments and value.shape != parameter.shape:
                raise UserError(OTHER_OPTIMIZER)
