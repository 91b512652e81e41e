"""Log the machine and peak memory of a training when it ends, to show what an encoding costs."""

import logging
import platform
import resource

import torch

from fairseq_floater.errors import program_name

logger = logging.getLogger(__name__)


def log_cost() -> None:
    """Log the machine and the peak memory in GiB at the end of ``fairseq-train``."""
    if program_name() not in ("fairseq-train", "fairseq-hydra-train"):
        return
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    logger.info(f"machine: {describe_machine()}")
    logger.info(f"peak memory of the host: {host:.2f} GiB")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device = torch.cuda.max_memory_allocated() / 2**30
        logger.info(f"peak memory of the device: {device:.2f} GiB")


def describe_machine() -> str:
    """Return what speed and memory are measured on: processor or GPU, threads, version of torch."""
    threads = torch.get_num_threads()
    if torch.cuda.is_initialized():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
