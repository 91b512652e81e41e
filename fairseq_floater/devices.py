"""Whether values may be read: on a device other than the CPU that means to wait for it."""

import torch
from torch import Tensor


def free_to_read(tensor: Tensor) -> bool:
    """Whether the program can read values of ``tensor`` at no cost.

    Elsewhere than on a CPU it would wait until all that was launched is done, and a program that
    is being exported has no values at all. Where reading only spares work, it is left out then.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_exporting()
