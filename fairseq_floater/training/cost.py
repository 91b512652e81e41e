"""Log the machine and peak memory of a training when it ends, to show what an encoding costs."""

import functools
import logging
import platform
import resource
from typing import Any, Callable

import torch

from fairseq_floater.errors import program_name

logger = logging.getLogger(__name__)


_device_peak = 0  # of the memory before the last reset of its statistics, in bytes


def remembering_peak(reset: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``torch.cuda.reset_peak_memory_stats``, which fairseq's trainer calls at each update.

    Otherwise, the peak at the end would be that of the last validation.
    """

    @functools.wraps(reset)
    def remember(*args: Any, **kwargs: Any) -> None:
        global _device_peak
        _device_peak = _peak_so_far()
        reset(*args, **kwargs)

    return remember


def _peak_so_far() -> int:
    return max(_device_peak, torch.cuda.max_memory_allocated())


def log_cost() -> None:
    """Log the machine and the peak memory in GiB at the end of ``fairseq-train``."""
    if program_name() not in ("fairseq-train", "fairseq-hydra-train"):
        return
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    logger.info(f"machine: {describe_machine()}")
    logger.info(f"peak memory of the host: {host:.2f} GiB")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device = _peak_so_far() / 2**30
        logger.info(f"peak memory of the device: {device:.2f} GiB")


def describe_machine() -> str:
    """Return what speed and memory are measured on: processor or GPU, threads, version of torch."""
    threads = torch.get_num_threads()
    if torch.cuda.is_initialized():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
