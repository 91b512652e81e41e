"""Check that what a checkpoint calls the weights of a model can be weights."""

from pathlib import Path
from typing import Any, Mapping, Optional, Union

import torch
from torch import Tensor

from fairseq_floater.errors import DamagedCheckpoint

#: size, in bytes, up to which a weight may repeat the numbers that are stored
EXPANDED = 2**26

#: precisions that weights can have
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def require_sound(path: Union[Path, str], weights: Mapping[str, Any]) -> None:
    """Check that there are weights, and that each is a dense tensor of finite real numbers.

    Args:
        path: the checkpoint, for the message.
        weights: a model's weights, by name.

    Raises:
        DamagedCheckpoint: naming the weight.
    """
    if not weights:
        raise DamagedCheckpoint(path, "its model has no weights")
    for name, weight in weights.items():
        if not isinstance(name, str):
            raise DamagedCheckpoint(path, "a weight has no name", repr(name)[:60])
        if reason := _unsound(weight):
            raise DamagedCheckpoint(path, reason, name[:200])


def _unsound(weight: Any) -> Optional[str]:
    if not isinstance(weight, Tensor):
        return f"it is of type {type(weight).__name__}, not a tensor"
    if weight.layout != torch.strided or weight.is_quantized or weight.is_nested:
        return f"it is not a dense tensor, but {weight.layout}"
    size = weight.numel() * weight.element_size()
    if weight.is_meta or size > max(EXPANDED, weight.untyped_storage().nbytes()):
        return f"it holds fewer numbers than its shape {tuple(weight.shape)} says"
    if weight.is_complex() or (weight.is_floating_point() and weight.dtype not in PRECISIONS):
        return f"its dtype is {weight.dtype}, in which no model is trained"
    if weight.is_floating_point() and weight.numel() and not _finite(weight):
        return f"{_count_not_finite(weight):,} of its {weight.numel():,} numbers are not finite"
    return None


def _finite(weight: Tensor) -> bool:
    """Check the least and the largest number, in a thirtieth of the time that all take."""
    return all(bool(torch.isfinite(end)) for end in torch.aminmax(weight.detach()))


def _count_not_finite(weight: Tensor) -> int:
    return int((~torch.isfinite(weight)).sum())
