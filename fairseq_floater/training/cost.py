"""Machine and peak memory of a training, logged when it ends: what an encoding costs."""

import atexit
import logging
import platform
import resource
import sys
from pathlib import Path

import torch

logger = logging.getLogger(__name__)


def log_peak_memory_at_exit() -> None:
    """Have ``fairseq-train`` log its machine, and its peak memory there and on its GPU, in GiB."""
    if Path(sys.argv[0] if sys.argv else "").name in ("fairseq-train", "fairseq-hydra-train"):
        atexit.register(_log)


def _log() -> None:
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    logger.info(f"machine: {describe_machine()}")
    logger.info(f"peak memory of the host: {host:.2f} GiB")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device = torch.cuda.max_memory_allocated() / 2**30
        logger.info(f"peak memory of the device: {device:.2f} GiB")


def describe_machine() -> str:
    """What speed and memory are measured on: processor or GPU, threads, version of torch."""
    threads = torch.get_num_threads()
    if torch.cuda.is_initialized():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
