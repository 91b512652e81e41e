"""Reading and writing checkpoints: plain data and what ``plain`` allows, no other pickles."""

import functools
import os
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import torch

from fairseq_floater.checkpoints.options import (
    forget_embedding_files,
    options_of,
    require_heads_divide_width,
    require_known,
    require_literals,
    say_what_was_meant,
    take_lists,
)
from fairseq_floater.checksums import require_intact, unreadable
from fairseq_floater.errors import DamagedCheckpoint, UserError
from fairseq_floater.files import written_whole
from fairseq_floater.models.description import model_options
from fairseq_floater.models.warm_start import Weights
from fairseq_floater.models.weight_checks import require_sound
from fairseq_floater.training.patience import PATIENCE


def remembering_options(load: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    """Make the weights that fairseq's loader reads remember the options of their model.

    A model compares them with its own. The loader also checks the weights and options of our
    models, and leaves out the files of pre-trained embeddings. If a file is not a checkpoint, or
    not what was written, it says in one line why, and what to do.
    """
    load = _checking_and_explaining(load)

    @functools.wraps(load)
    def remembering(path: str, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        state = load(path, *args, **kwargs)
        if not state.get("args") and not state.get("cfg"):
            raise DamagedCheckpoint(path, "it says nothing about the options of its model")
        options = model_options(state)
        require_heads_divide_width(path, options)
        if "position_encoder" in options:
            require_sound(path, state["model"])
            require_known(path, options)
            overrides = args[0] if args else kwargs.get("arg_overrides")
            options_of(path, state, overrides)  # which checks them
            forget_embedding_files(state)
            take_lists(state)
        state["model"] = Weights.of(state["model"], path, options)
        if isinstance(state.get("extra_state"), dict):
            # Without averages, --store-ema makes fairseq look for a model that it has dropped. With
            # an empty dictionary, they start from the model that was loaded.
            state["extra_state"].setdefault("ema", {})
        return state

    return remembering


def broadcast_pickled(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    """Send what one process has read to all, as a pickle: safe between our own processes."""
    box = [obj]
    torch.distributed.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


def remembering_across_processes(broadcast: Callable[..., Any]) -> Callable[..., Any]:
    """Keep ``Weights`` in fairseq's broadcast, which rebuilds dictionaries as plain ones."""

    @functools.wraps(broadcast)
    def remembering(obj: Any, *args: Any, **kwargs: Any) -> Any:
        path = getattr(obj.get("model"), "path", Weights.path) if isinstance(obj, dict) else ""
        obj = broadcast(obj, *args, **kwargs)
        if isinstance(obj, dict) and isinstance(obj.get("model"), dict):
            obj["model"] = Weights.of(obj["model"], path or Weights.path, model_options(obj))
        return obj

    return remembering


def _checking_and_explaining(load: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    @functools.wraps(load)
    def explained(path: str, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        try:
            if os.path.isfile(path):
                require_intact(Path(path))
            state = load(path, *args, **kwargs)
            _require_parts(state)
            say_what_was_meant(state)
            require_literals(path, model_options(state))
            return state
        except (UserError, FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except Exception as error:  # for a bad file, torch raises errors of every kind
            raise unreadable(path, error) from error

    return explained


def _require_parts(state: Any) -> None:
    """Raise a ``ValueError`` if parts of a checkpoint are not what fairseq takes them for."""
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ValueError("it holds no model")
    for part, kind in (("task_state", dict), ("extra_state", dict), ("optimizer_history", list)):
        if not isinstance(state.get(part), (kind, type(None))):
            raise ValueError(f"its {part} is a {type(state[part]).__name__}, not a {kind.__name__}")
    if cfg := state.get("cfg"):
        if not isinstance(cfg, Mapping) or "model" not in cfg:
            raise ValueError("its cfg says nothing about the model")
    if not all(isinstance(entry, dict) for entry in state.get("optimizer_history") or ()):
        raise ValueError("its optimizer_history is not a list of dictionaries")


@_checking_and_explaining
def read_checkpoint(path: str) -> Dict[str, Any]:
    """Return a checkpoint on the CPU, as it was written but for options that are newer than it.

    These have the values that keep its model as it was. fairseq's own reader changes more.

    Raises:
        UserError: if it is not a checkpoint, is not what was written, or holds more than plain
            data.
    """
    return torch.load(path, map_location="cpu", weights_only=True)


def forget_training(state: Dict[str, Any]) -> None:
    """Remove what belongs to the training of another model than the state now has.

    That is the optimizer's state, the moving averages (EMA), and what ``--patience`` has counted.
    """
    state["last_optimizer_state"] = None
    for name in ("ema", "ema_fp32_params", "best", PATIENCE):
        (state.get("extra_state") or {}).pop(name, None)


def write_checkpoint(state: Dict[str, Any], path: Path) -> None:
    """Write all of a checkpoint or, if that fails, nothing."""
    with written_whole(path) as file:
        torch.save(state, file)
