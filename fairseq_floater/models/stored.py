"""Encodings stored in a checkpoint beside the weights they are of (paper, section 4.4).

A stored table spares a loaded model the solve up to its length; beyond it the solve goes on from
its last state. With it goes a fingerprint of the parameters and settings it was computed from:
where these have changed since, as when checkpoints are averaged, the table is left aside.
"""

import hashlib
import logging
from typing import Any, Dict, List, Mapping, MutableMapping, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders import PositionEncoder

logger = logging.getLogger(__name__)

STACKS = ("encoder", "decoder")
TABLE, FINGERPRINT = "positions.baked", "positions.baked_of"


def stored_positions(weights: Mapping[str, Tensor]) -> Dict[str, int]:
    """How many positions are stored, by stack; empty if none are."""
    found = {stack: weights.get(f"{stack}.{TABLE}") for stack in STACKS}
    return {stack: table.size(1) for stack, table in found.items() if table is not None}


def drop_tables(weights: MutableMapping[str, Tensor]) -> None:
    """Take stored encodings out of ``weights``."""
    for stack in STACKS:
        weights.pop(f"{stack}.{TABLE}", None)
        weights.pop(f"{stack}.{FINGERPRINT}", None)


def compute_tables(model: nn.Module, positions: int) -> Dict[str, Tensor]:
    """What to add to the weights of ``model`` to store at least ``positions`` positions.

    As many as its encoders compute at a time: a model goes on from there with the very numbers
    that it would have computed itself. Empty for encoders without a solve to spare.
    """
    tables = {}
    for stack in STACKS:
        encoder = getattr(model, stack).positions
        if encoder is not None and encoder.sequential:
            steps = max(1, -(-(positions - 1) // encoder.growth))
            length = steps * encoder.growth + 1  # however much is kept already
            tables[f"{stack}.{TABLE}"] = encoder.kept(length)[:, :length].clone()
            tables[f"{stack}.{FINGERPRINT}"] = fingerprint(encoder, encoder.state_dict())
    return tables


def take_tables(model: nn.Module, weights: MutableMapping[str, Tensor]) -> Dict[str, Tensor]:
    """Remove stored encodings from ``weights``; those that are of these weights, by stack."""
    tables = {}
    for stack in STACKS:
        table = weights.get(f"{stack}.{TABLE}")
        encoder: Optional[PositionEncoder] = getattr(model, stack).positions
        if table is None or encoder is None:
            continue
        start = f"{stack}.positions."
        state = {n[len(start) :]: w for n, w in weights.items() if n.startswith(start)}
        if encoder.state_dict().keys() != state.keys() - {"baked", "baked_of"}:
            continue  # of another encoder: the weights themselves do not fit
        stored = weights.get(f"{stack}.{FINGERPRINT}", torch.zeros(0))
        if torch.equal(stored, fingerprint(encoder, state)):
            tables[stack] = table
        else:
            logger.warning(
                f"the encodings stored for the {stack} are not those of its weights or settings, "
                "as after averaging: they are computed anew (floater bake stores these)"
            )
    drop_tables(weights)
    return tables


def fingerprint(encoder: PositionEncoder, state: Mapping[str, Tensor]) -> Tensor:
    """Eight numbers (int64) that follow from an encoder's settings and its weights ``state``."""
    digest = hashlib.sha256("\n".join(_settings(encoder)).encode())
    for name, _ in sorted(encoder.named_parameters(remove_duplicate=False)):
        weight = state[name].detach().contiguous().cpu()
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.view(torch.uint8).numpy().tobytes())
    words: List[Any] = [int.from_bytes(digest.digest()[i : i + 4]) for i in range(0, 32, 4)]
    return torch.tensor(words)


def _settings(encoder: PositionEncoder) -> List[str]:
    return [f"{name}: {type(m).__name__} {m.extra_repr()}" for name, m in encoder.named_modules()]
