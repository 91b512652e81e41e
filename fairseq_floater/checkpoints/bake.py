"""Storing encodings in a checkpoint."""

from collections import OrderedDict
from pathlib import Path
from typing import Dict

from fairseq_floater.checkpoints.files import write_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.errors import UserError
from fairseq_floater.models.stored import compute_tables, drop_tables, stored_positions


def bake(checkpoint: Path, output: Path, positions: int) -> Dict[str, int]:
    """Write ``checkpoint`` with at least ``positions`` stored; returns how many, by stack.

    All else stays, the optimizer's state included. Encodings that were stored before give way.

    Raises:
        UserError: if it is no ``floater_transformer``, or has nothing to store.
    """
    state, config, model = load_model(checkpoint)
    tables = compute_tables(model, positions)
    if not tables:
        raise UserError(
            f"{checkpoint} has --position-encoder {config.position_encoder}, whose encodings "
            "need no solve: there is nothing to store"
        )
    weights = OrderedDict(state["model"])
    drop_tables(weights)
    state["model"] = OrderedDict({**weights, **tables})
    write_checkpoint(state, output)
    return stored_positions(state["model"])
