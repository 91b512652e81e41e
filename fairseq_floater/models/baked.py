"""Tables baked into a checkpoint: trajectories beside the weights they belong to (section 4.4).

A baked table saves a loaded model the solve up to the table's length; beyond it, the solve
continues from the table's last state. A fingerprint is stored with it, of the parameters and
settings it was computed from, and of the table itself. If these have changed since, as when
checkpoints are averaged, the table is not used. Tables of version 0.1.0 have no fingerprint of
themselves: they must begin with the initial values, be finite and have the right shape.
"""

import hashlib
import logging
from typing import Dict, Mapping, MutableMapping, Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.cache import settings_of
from fairseq_floater.encoders.table_limits import require_room
from fairseq_floater.models.renamed import new_name

logger = logging.getLogger(__name__)

#: numbers in the fingerprint of weights and settings, and in that of the table
WORDS = 8

TABLE, FINGERPRINT = "position_encoder.baked", "position_encoder.baked_of"


def baked_lengths(weights: Mapping[str, Tensor]) -> Dict[str, int]:
    """Return how many positions are baked in, by stack; empty if none are."""
    tables = {new_name(name): table for name, table in weights.items()}
    found = {name: table for name, table in tables.items() if name.endswith(f".{TABLE}")}
    return {
        name.removesuffix(f".{TABLE}"): table.size(1)
        for name, table in found.items()
        if table.dim() == 3
    }


def drop_baked(weights: MutableMapping[str, Tensor], prefix: str = "") -> None:
    """Remove baked tables from ``weights``: all, or those of the stack ``prefix``."""
    for name in list(weights):
        if name.startswith(prefix) and new_name(name).endswith((f".{TABLE}", f".{FINGERPRINT}")):
            del weights[name]


def bake_tables(stacks: Mapping[str, PositionedStack], length: int) -> Dict[str, Tensor]:
    """Return what to add to the weights of a model to bake in at least ``length`` positions.

    The tables end where an encoder's own computation in stretches would, so that a model continues
    from there with exactly the numbers that it would have computed itself. Encoders that have no
    solve to save get none.

    Raises:
        UserError: if the tables would take too much memory or time.
    """
    tables = {}
    for prefix, stack in stacks.items():
        encoder = stack.position_encoder
        if encoder is not None and encoder.sequential:
            require_room(encoder, length, f"--positions {length}")
            steps = max(1, -(-(length - 1) // encoder.growth))
            whole = steps * encoder.growth + 1  # regardless of how much is kept already
            table = encoder.kept(whole)[:, :whole].clone()
            parts = [fingerprint(encoder, encoder.state_dict()), fingerprint_of_table(table)]
            tables[f"{prefix}.{TABLE}"] = table
            tables[f"{prefix}.{FINGERPRINT}"] = torch.cat(parts)
    return tables


def take_baked(
    stacks: Mapping[str, PositionedStack], weights: MutableMapping[str, Tensor]
) -> Dict[str, Tensor]:
    """Remove baked tables from ``weights``; return those that match the weights, by stack."""
    tables = {}
    for prefix, stack in stacks.items():
        table = weights.get(f"{prefix}.{TABLE}")
        encoder: Optional[PositionEncoder] = stack.position_encoder
        if table is None or encoder is None:
            continue
        start = f"{prefix}.position_encoder."
        state = {n[len(start) :]: w for n, w in weights.items() if n.startswith(start)}
        if encoder.state_dict().keys() != state.keys() - {"baked", "baked_of"}:
            continue  # from another encoder: the weights themselves do not fit
        baked_of = weights.get(f"{prefix}.{FINGERPRINT}", torch.zeros(0))
        if wrong := _wrong(encoder, state, table, baked_of):
            logger.warning(
                f"the table baked in for the {prefix} does not match {wrong}: it is computed "
                "again (run floater bake to store it)"
            )
        else:
            tables[prefix] = table
    drop_baked(weights)
    return tables


def _wrong(
    encoder: PositionEncoder, state: Mapping[str, Tensor], table: Tensor, baked_of: Tensor
) -> str:
    """Return what the table does not match; empty if the encoder would compute the same one."""
    of_weights = baked_of.flatten()[:WORDS]
    try:
        if not torch.equal(of_weights, fingerprint(encoder, state)):
            return "its weights or settings, as after averaging"
    except (RuntimeError, TypeError):  # weights that cannot be those of this encoder
        return "its weights or settings"
    of_table = baked_of.flatten()[WORDS:]
    sound = table.dim() == 3 and (table.size(0), table.size(2)) == (encoder.tracks, encoder.dim)
    sound = sound and table.size(1) > 0 and table.is_floating_point()
    if sound and len(of_table):
        sound = torch.equal(of_table, fingerprint_of_table(table))
    elif sound:  # from version 0.1.0
        start = state.get("initial", torch.zeros(0)).to(encoder.dtype)
        sound = bool(torch.isfinite(table).all()) and torch.equal(table[:, 0], start)
    return "" if sound else "the one that was baked in"


def fingerprint_of_table(table: Tensor) -> Tensor:
    """Return ``WORDS`` numbers (int64) computed from a table."""
    digest = hashlib.sha256(f"{table.dtype} {tuple(table.shape)}".encode())
    digest.update(bytes_of(table))
    return _words(digest.digest())


def fingerprint(encoder: PositionEncoder, state: Mapping[str, Tensor]) -> Tensor:
    """Return ``WORDS`` numbers (int64) from an encoder's settings and its weights ``state``."""
    digest = hashlib.sha256("\n".join(settings_of(encoder)).encode())
    for name, _ in sorted(encoder.named_parameters(remove_duplicate=False)):
        # In the precision of the solve, regardless of the checkpoint's.
        weight = state[name].detach().to("cpu", encoder.dtype)
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(bytes_of(weight))
    return _words(digest.digest())


def bytes_of(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor's values, in the order of its dimensions."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _words(digest: bytes) -> Tensor:
    return torch.tensor([int.from_bytes(digest[i : i + 4]) for i in range(0, 32, 4)])
