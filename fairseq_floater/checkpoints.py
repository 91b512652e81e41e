"""Reading fairseq checkpoints safely: plain data and an allow-list, never arbitrary pickles."""

import argparse
import functools
import pickle
import zipfile
from typing import Any, Callable, Dict

import torch
from fairseq import checkpoint_utils

from fairseq_floater.errors import UserError


def allow_fairseq_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what fairseq writes.

    Checkpoints of fairseq's legacy models hold their options as an ``argparse.Namespace``, a
    class without code of its own. All else stays refused.
    """
    torch.serialization.add_safe_globals([argparse.Namespace])


def explain_unreadable_checkpoints() -> None:
    """Have fairseq's loader say in one line why a file is no checkpoint, and what to do."""
    checkpoint_utils.load_checkpoint_to_cpu = _explaining(checkpoint_utils.load_checkpoint_to_cpu)


def _explaining(load: Callable[..., Dict[str, Any]]) -> Callable[..., Dict[str, Any]]:
    @functools.wraps(load)
    def explained(path: str, *args, **kwargs) -> Dict[str, Any]:
        try:
            return load(path, *args, **kwargs)
        except pickle.UnpicklingError as error:
            if "Unsupported global" in str(error) or "weights_only" in str(error).lower():
                raise UserError(
                    f"checkpoint {path} holds more than plain data and is refused: load only "
                    f"checkpoints that fairseq wrote ({_unsafe_part(error)})"
                ) from error
            raise UserError(_UNREADABLE.format(path=path, error=_first_line(error))) from error
        except (EOFError, KeyError, zipfile.BadZipFile, RuntimeError) as error:
            raise UserError(_UNREADABLE.format(path=path, error=_first_line(error))) from error

    return explained


_UNREADABLE = (
    "checkpoint {path} cannot be read, it is truncated or not a fairseq checkpoint ({error}): "
    "copy it again, or delete it to start from an earlier one"
)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _unsafe_part(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "GLOBAL" in line or "global" in line]
    return (lines or [_first_line(error)])[-1].strip()[:160]
