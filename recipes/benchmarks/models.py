"""Shared code of the benchmarks of whole models: models with random weights, and timing."""

import statistics
import time
from argparse import ArgumentParser, Namespace
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import fairseq_floater  # noqa: F401  registers the models
from fairseq_floater.commands.arguments import at_least_one

SIZES = {"tiny": "floater_transformer_tiny", "base": "floater_transformer"}

#: fairseq's own model, which has no position options
STOCK = "fairseq's transformer"


def dictionary(words: int) -> Dictionary:
    words_only = Dictionary()
    for number in range(words):
        words_only.add_symbol(f"w{number}")
    return words_only


def build(
    size: str, options: Optional[Dict[str, Any]], words: Dictionary, **more: Any
) -> torch.nn.Module:
    """Build a model with these position options, or if None, fairseq's own of the same size."""
    args = Namespace(arch=SIZES[size], share_all_embeddings=True, **(options or {}), **more)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    arch = "transformer" if options is None else args.arch
    torch.manual_seed(1)
    cfg = SimpleNamespace(left_pad_target=False)
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words, cfg=cfg)
    model = ARCH_MODEL_REGISTRY[arch].build_model(args, task)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("position_encoder.initial"):
                parameter.normal_(std=0.1)
    return model


def add_measurement(parser: ArgumentParser, builds: int, rounds: int) -> None:
    """Add what is measured, how often by default, and on which device."""
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"], choices=list(SIZES))
    for name, default, help in (
        ("--words", 10_000, "vocabulary size"),
        ("--builds", builds, "builds of every model"),
        ("--rounds", rounds, "rounds with every build"),
    ):
        help += "; default: %(default)s"
        parser.add_argument(name, type=at_least_one, default=default, help=help)
    add_device(parser)


def add_device(parser: ArgumentParser) -> None:
    choices = ("cpu", "cuda")
    parser.add_argument("--device", choices=choices, default="cpu", help="default: %(default)s")


def clock(device: str) -> Callable[[], float]:
    """Return a clock.

    On a CPU it counts seconds of processor time, which other programs do not prolong. On a GPU it
    counts the seconds that pass until everything launched so far is done.
    """

    def once_done() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return time.process_time if device == "cpu" else once_done


def of_time(device: str) -> str:
    """Say what ``clock`` counts, and where, for the head of a table."""
    if device == "cpu":
        return f"processor time of one thread, torch {torch.__version__}"
    return f"elapsed time on {torch.cuda.get_device_name()}, torch {torch.__version__}"


def ratio(baseline: List[float], own: List[float]) -> str:
    if own is baseline:
        return "1"
    ratios = [base / time_ for base, time_ in zip(baseline, own)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    return f"{statistics.mean(ratios):.3f} ± {2 * error:.3f}"
