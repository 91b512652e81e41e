"""Reading fairseq checkpoints safely: plain data and an allow-list, never arbitrary pickles."""

import argparse
import functools
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

from fairseq_floater.errors import UserError
from fairseq_floater.files import written_whole
from fairseq_floater.models.warm_start import Weights


def allow_fairseq_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what fairseq writes.

    Checkpoints of fairseq's legacy models hold their options as an ``argparse.Namespace``, a
    class without code of its own. All else stays refused.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def explain_unreadable_checkpoints() -> None:
    """Have fairseq's loader say in one line why a file is no checkpoint, and what to do.

    The weights it returns remember the options of their model, for a model to compare its own.
    """
    load = _explaining(checkpoint_utils.load_checkpoint_to_cpu)

    @functools.wraps(load)
    def remembering(path: str, *args, **kwargs) -> Dict[str, Any]:
        state = load(path, *args, **kwargs)
        state["model"] = Weights.of(state["model"], path, model_options(state))
        return state

    checkpoint_utils.load_checkpoint_to_cpu = remembering


def share_checkpoints_between_processes() -> None:
    """Have the first process of data-parallel training send the others the checkpoint it read.

    fairseq sends it through ``torch.save`` and ``torch.load``, which by now refuses the options
    in it. Between our own processes a pickle is safe: what it holds was read as plain data.
    """
    distributed_utils._broadcast_object_slow = _broadcast_object
    distributed_utils.broadcast_object = _remembering(distributed_utils.broadcast_object)


def _broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    box = [obj]
    torch.distributed.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


def _remembering(broadcast: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's broadcast takes all tensors out, and rebuilds dictionaries as plain ones."""

    @functools.wraps(broadcast)
    def remembering(obj: Any, *args, **kwargs) -> Any:
        path = getattr(obj.get("model"), "path", Weights.path) if isinstance(obj, dict) else ""
        obj = broadcast(obj, *args, **kwargs)
        if isinstance(obj, dict) and isinstance(obj.get("model"), dict):
            obj["model"] = Weights.of(obj["model"], path or Weights.path, model_options(obj))
        return obj

    return remembering


def _explaining(load: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    @functools.wraps(load)
    def explained(path: str, *args, **kwargs) -> Dict[str, Any]:
        try:
            return load(path, *args, **kwargs)
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except Exception as error:  # torch's reasons for a bad file are of every kind
            if any(mark in str(error) for mark in _REFUSALS):
                raise UserError(
                    f"checkpoint {path} holds more than plain data and is refused: load only "
                    f"checkpoints that fairseq wrote ({_unsafe_part(error)})"
                ) from error
            raise UserError(_UNREADABLE.format(path=path, error=_first_line(error))) from error

    return explained


@_explaining
def read_checkpoint(path: str) -> Dict[str, Any]:
    """A checkpoint as it was written, on the CPU; fairseq's own reader brings it up to date.

    Raises:
        UserError: if it is not one, or holds more than plain data.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    weights = state.get("model") if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise ValueError("it holds no model")
    return state


#: how torch says that it found more than plain data, rather than no data
_REFUSALS = ("GLOBAL", "unrecognized function", "allowlisted via")

_UNREADABLE = (
    "checkpoint {path} cannot be read, it is truncated or not a fairseq checkpoint ({error}): "
    "copy it again, or put an earlier one in its place"
)


def write_checkpoint(state: Dict[str, Any], path: Path) -> None:
    """Write all of a checkpoint or, if that fails, nothing."""
    with written_whole(path) as file:
        torch.save(state, file)


def model_options(state: Mapping[str, Any]) -> Dict[str, Any]:
    """The model's options in a checkpoint of fairseq's, of any age; empty where there are none."""
    cfg = state.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else state.get("args")
    if isinstance(model, argparse.Namespace):
        return dict(vars(model))
    return dict(model) if isinstance(model, Mapping) else {}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _unsafe_part(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line]
    return (lines or [_first_line(error)])[-1].strip()[:160]
