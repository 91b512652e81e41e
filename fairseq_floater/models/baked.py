"""Tables baked into a checkpoint: trajectories beside the weights they are of (section 4.4).

A baked table spares a loaded model the solve up to its length; beyond it the solve goes on from
its last state. With it goes a fingerprint of the parameters and settings it was computed from, and
of the table itself: where these have changed since, as when checkpoints are averaged, the table is
left aside. Tables of 0.1.0 have no fingerprint of themselves: they must begin with the initial
values, be finite and of the right shape.
"""

import hashlib
import logging
from typing import Dict, List, Mapping, MutableMapping, Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.room import require_room
from fairseq_floater.models.renamed import new_name

logger = logging.getLogger(__name__)

#: numbers in the fingerprint of weights and settings, and as many in that of the table
WORDS = 8

TABLE, FINGERPRINT = "position_encoder.baked", "position_encoder.baked_of"


def baked_lengths(weights: Mapping[str, Tensor]) -> Dict[str, int]:
    """How many positions are baked in, by stack; empty if none are."""
    tables = {new_name(name): table for name, table in weights.items()}
    found = {name: table for name, table in tables.items() if name.endswith(f".{TABLE}")}
    return {
        name.removesuffix(f".{TABLE}"): table.size(1)
        for name, table in found.items()
        if table.dim() == 3
    }


def drop_baked(weights: MutableMapping[str, Tensor], prefix: str = "") -> None:
    """Take baked tables out of ``weights``: all, or those of the stack ``prefix``."""
    for name in list(weights):
        if name.startswith(prefix) and new_name(name).endswith((f".{TABLE}", f".{FINGERPRINT}")):
            del weights[name]


def bake_tables(stacks: Mapping[str, PositionedStack], length: int) -> Dict[str, Tensor]:
    """What to add to the weights of a model to bake in at least ``length`` positions.

    As many as its encoders compute at a time: a model goes on from there with the very numbers
    that it would have computed itself. Empty for encoders without a solve to spare.

    Raises:
        UserError: if the tables would take too much memory or time.
    """
    tables = {}
    for prefix, stack in stacks.items():
        encoder = stack.position_encoder
        if encoder is not None and encoder.sequential:
            require_room(encoder, length, f"--positions {length}")
            steps = max(1, -(-(length - 1) // encoder.growth))
            whole = steps * encoder.growth + 1  # however much is kept already
            table = encoder.kept(whole)[:, :whole].clone()
            parts = [fingerprint(encoder, encoder.state_dict()), fingerprint_of_table(table)]
            tables[f"{prefix}.{TABLE}"] = table
            tables[f"{prefix}.{FINGERPRINT}"] = torch.cat(parts)
    return tables


def take_baked(
    stacks: Mapping[str, PositionedStack], weights: MutableMapping[str, Tensor]
) -> Dict[str, Tensor]:
    """Remove baked tables from ``weights``; those that are of these weights, by stack."""
    tables = {}
    for prefix, stack in stacks.items():
        table = weights.get(f"{prefix}.{TABLE}")
        encoder: Optional[PositionEncoder] = stack.position_encoder
        if table is None or encoder is None:
            continue
        start = f"{prefix}.position_encoder."
        state = {n[len(start) :]: w for n, w in weights.items() if n.startswith(start)}
        if encoder.state_dict().keys() != state.keys() - {"baked", "baked_of"}:
            continue  # of another encoder: the weights themselves do not fit
        baked_of = weights.get(f"{prefix}.{FINGERPRINT}", torch.zeros(0))
        if wrong := _wrong(encoder, state, table, baked_of):
            logger.warning(
                f"the table baked in for the {prefix} is not that {wrong}: it is computed anew "
                "(floater bake bakes it in)"
            )
        else:
            tables[prefix] = table
    drop_baked(weights)
    return tables


def _wrong(
    encoder: PositionEncoder, state: Mapping[str, Tensor], table: Tensor, baked_of: Tensor
) -> str:
    """What the table is not that of; empty for one that the encoder would compute itself."""
    of_weights = baked_of.flatten()[:WORDS]
    try:
        if not torch.equal(of_weights, fingerprint(encoder, state)):
            return "of its weights or settings, as after averaging"
    except (RuntimeError, TypeError):  # weights that cannot be those of this encoder
        return "of its weights or settings"
    of_table = baked_of.flatten()[WORDS:]
    sound = table.dim() == 3 and (table.size(0), table.size(2)) == (encoder.tracks, encoder.dim)
    sound = sound and table.size(1) > 0 and table.is_floating_point()
    if sound and len(of_table):
        sound = torch.equal(of_table, fingerprint_of_table(table))
    elif sound:  # of 0.1.0
        start = state.get("initial", torch.zeros(0)).to(encoder.dtype)
        sound = bool(torch.isfinite(table).all()) and torch.equal(table[:, 0], start)
    return "" if sound else "which was baked in"


def fingerprint_of_table(table: Tensor) -> Tensor:
    """``WORDS`` numbers (int64) that follow from a table."""
    digest = hashlib.sha256(f"{table.dtype} {tuple(table.shape)}".encode())
    digest.update(bytes_of(table))
    return _words(digest.digest())


def fingerprint(encoder: PositionEncoder, state: Mapping[str, Tensor]) -> Tensor:
    """``WORDS`` numbers (int64) that follow from an encoder's settings and weights ``state``."""
    digest = hashlib.sha256("\n".join(_settings(encoder)).encode())
    for name, _ in sorted(encoder.named_parameters(remove_duplicate=False)):
        # In the precision of the solve, whatever that of the checkpoint.
        weight = state[name].detach().to("cpu", encoder.dtype)
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(bytes_of(weight))
    return _words(digest.digest())


def bytes_of(tensor: Tensor) -> bytes:
    """Its values as they lie in memory, in the order of its dimensions."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _words(digest: bytes) -> Tensor:
    return torch.tensor([int.from_bytes(digest[i : i + 4]) for i in range(0, 32, 4)])


def _settings(encoder: PositionEncoder) -> List[str]:
    return [f"{name}: {type(m).__name__} {m.extra_repr()}" for name, m in encoder.named_modules()]
