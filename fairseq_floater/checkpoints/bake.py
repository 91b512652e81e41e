"""Bake tables of trajectories into a checkpoint."""

from collections import OrderedDict
from pathlib import Path
from typing import Dict

from fairseq_floater.checkpoints.files import write_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.errors import UserError, naming
from fairseq_floater.models.baked import bake_tables, baked_lengths, drop_baked
from fairseq_floater.models.renamed import with_new_names


def bake(checkpoint: Path, output: Path, positions: int) -> Dict[str, int]:
    """Write ``checkpoint`` with at least ``positions`` positions baked in.

    Everything else stays, including the optimizer's state. Tables that were baked in before are
    replaced.

    Returns:
        The number of positions that are baked in, by stack.

    Raises:
        UserError: if it does not hold a model of the plugin, or there is nothing to bake.
    """
    state, config, model = load_model(checkpoint)
    with naming(checkpoint):
        tables = bake_tables(model.stacks(), positions)
    if not tables:
        raise UserError(
            f"{checkpoint} has --position-encoder {config.position_encoder}, whose encodings "
            "need no solve: there is nothing to store"
        )
    weights = with_new_names(OrderedDict(state["model"]))
    drop_baked(weights)
    state["model"] = OrderedDict({**weights, **tables})
    write_checkpoint(state, output)
    return baked_lengths(state["model"])
