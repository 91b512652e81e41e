"""Run a program of fairseq or ``floater`` on a machine that seems to have a GPU.

    python pretended_gpu.py NAME ARGUMENTS, such as train data --fp16

NAME is what follows ``fairseq-``, or floater, or the path of a script; ``--cpu`` is dropped.
Here torch.cuda says that there is a GPU, and what is moved to it is moved to the device of
pretended.py. There is one GPU, and apex is missing.
"""

import functools
import importlib
import logging
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from pretended import DEVICE, NAME, Pretending

#: the most memory that the GPU seems to have given until its statistics are reset, in bytes
PEAK = 3 * 2**29


def moved(move):
    """Make ``to`` of tensors or modules move to the pretended device instead of a GPU."""

    def there(device):
        is_device = isinstance(device, (str, torch.device))
        return DEVICE if is_device and torch.device(device).type == "cuda" else device

    @functools.wraps(move)
    def to(self, *args, **kwargs):
        kwargs = {key: there(value) for key, value in kwargs.items()}
        return move(self, *map(there, args), **kwargs)

    return to


def pretend():
    """Make torch.cuda say that there is a GPU."""
    torch.Tensor.to, torch.nn.Module.to = moved(torch.Tensor.to), moved(torch.nn.Module.to)
    torch.Tensor.cuda = lambda tensor, device=None, non_blocking=False: tensor.to(
        DEVICE, non_blocking=non_blocking
    )
    torch.nn.Module.cuda = lambda module, device=None: module.to(DEVICE)
    torch.Tensor.pin_memory = lambda tensor, device=None: tensor
    torch.cuda.amp.autocast = lambda enabled=True: torch.autocast(NAME, torch.float16, enabled)
    properties = SimpleNamespace(name=NAME, total_memory=2**34, major=9, minor=0)
    answers = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (9, 0),
        "get_device_name": NAME,
        "get_device_properties": properties,
        "get_rng_state": torch.zeros(1, dtype=torch.uint8),
    }
    quiet = ["synchronize", "set_device", "manual_seed", "set_rng_state", "empty_cache"]
    for name, answer in {**answers, **dict.fromkeys(quiet)}.items():
        setattr(torch.cuda, name, lambda *args, answer=answer: answer)
    peak = [PEAK]
    torch.cuda.max_memory_allocated = lambda: peak[0]
    torch._C._cuda_resetPeakMemoryStats = lambda device: peak.__setitem__(0, 0)


if __name__ == "__main__":
    pretend()
    name = sys.argv[1]
    sys.argv = [f"fairseq-{name}", *(part for part in sys.argv[2:] if part != "--cpu")]
    logging.root.handlers.clear()  # fairseq_cli sets up logging only if nothing else has
    with Pretending():
        if name.endswith(".py"):
            sys.path[0] = str(Path(name).parent)
            runpy.run_path(name, run_name="__main__")
        elif name == "floater":
            sys.exit(importlib.import_module("fairseq_floater.cli").main())
        else:
            sys.exit(importlib.import_module(f"fairseq_cli.{name}").cli_main())
