"""Leaving out the trajectories of blocks that a model leaves out.

fairseq's ``--encoder-layers-to-keep 0,2`` (and the decoder's) builds a model of those blocks alone
and takes their weights out of a larger model's checkpoint. The tracks of a stack are one tensor
over all its blocks, of which those of the kept blocks must stay.
"""

from typing import Any, Mapping, MutableMapping

from fairseq.checkpoint_utils import prune_state_dict
from torch import Tensor

from fairseq_floater.blocks.stacks import PositionedStack
from fairseq_floater.models.baked import drop_baked


def prune(
    stacks: Mapping[str, PositionedStack], weights: MutableMapping[str, Tensor], model_cfg: Any
) -> None:
    """Leave in ``weights`` those of the blocks that a model of ``stacks`` has, tracks included.

    ``model_cfg`` names the blocks, as fairseq gives it; where it names none, all stay.
    """
    # fairseq takes any name with a number of a layer in it for a block's, such as a cell's.
    ours = {name: w for name, w in weights.items() if ".position_encoder." in name}
    others = {name: weight for name, weight in weights.items() if name not in ours}
    kept = prune_state_dict(others, model_cfg)
    if kept is not others:
        weights.clear()
        weights.update({**kept, **ours})
    prune_tracks(stacks, weights)


def prune_tracks(
    stacks: Mapping[str, PositionedStack], weights: MutableMapping[str, Tensor]
) -> None:
    """Keep in ``weights`` the tracks of those blocks that ``stacks`` have, if there are more."""
    for prefix, stack in stacks.items():
        encoder, per_block = stack.position_encoder, len(stack.tracks)
        if encoder is None:
            continue
        for name in encoder.track_parameters():
            name = f"{prefix}.position_encoder.{name}"
            if name not in weights or len(weights[name]) <= encoder.tracks:
                continue
            blocks = weights[name].unflatten(0, (-1, per_block))
            if max(stack.blocks) < len(blocks):
                weights[name] = blocks[list(stack.blocks)].flatten(0, 1)
                drop_baked(weights, prefix)
