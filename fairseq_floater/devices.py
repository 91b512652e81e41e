"""Whether values may be read: on a device other than the CPU, reading waits for the device."""

import torch
from torch import Tensor


def free_to_read(tensor: Tensor) -> bool:
    """True if the program can read values of ``tensor`` at no cost.

    On a device other than the CPU, it would wait until all launched work is done, and a program
    that is being exported has no values at all. Callers that read only to save work then skip it.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_exporting()
