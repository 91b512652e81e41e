"""Remove from a checkpoint the blocks that a model leaves out.

``--encoder-layers-to-keep 0,2`` (and the decoder's) builds a model of those blocks alone, for the
checkpoint of a larger one. fairseq's own pruning takes any name with the number of a layer in it
for a block's, requires that both stacks are pruned or neither, and does not know tracks, which are
one tensor over all blocks of a stack.
"""

import logging
import re
from typing import Any, Dict, Mapping, MutableMapping, Set

from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.models.baked import drop_baked

logger = logging.getLogger(__name__)


def prune(
    stacks: Mapping[str, PositionedStack],
    weights: MutableMapping[str, Tensor],
    options: Mapping[str, Any],
) -> None:
    """Remove from ``weights`` those of the blocks that a model leaves out.

    Args:
        stacks: the model's stacks, whose ``kept_layers`` say which blocks it has.
        weights: those of the whole model, or of the pruned one, which stay as they are.
        options: the model's options, which say how many layers the whole model has.
    """
    for prefix, stack in stacks.items():
        whole = int(options[f"{stack.name}_layers"])
        if stack.kept_layers and len(_layers(weights, prefix)) == whole:
            _prune_layers(weights, prefix, stack)
            _prune_tracks(weights, prefix, stack, whole)


def _layers(weights: Mapping[str, Tensor], prefix: str) -> Set[int]:
    """Return the numbers of the layers of a stack."""
    found = (re.match(rf"{re.escape(prefix)}\.layers\.(\d+)\.", name) for name in weights)
    return {int(match[1]) for match in found if match}


def _prune_layers(
    weights: MutableMapping[str, Tensor], prefix: str, stack: PositionedStack
) -> None:
    """Renumber the kept layers in their order, and drop the others."""
    places = {f"{prefix}.layers.{old}.": new for new, old in enumerate(stack.kept_layers)}
    pruned: Dict[str, Tensor] = {}
    for name, weight in weights.items():
        match = re.match(rf"{re.escape(prefix)}\.layers\.\d+\.", name)
        if match is None:
            pruned[name] = weight
        elif match[0] in places:
            pruned[f"{prefix}.layers.{places[match[0]]}.{name[match.end() :]}"] = weight
    weights.clear()
    weights.update(pruned)


def _prune_tracks(
    weights: MutableMapping[str, Tensor], prefix: str, stack: PositionedStack, whole: int
) -> None:
    """Keep only the tracks of the kept blocks, if every block has some."""
    for part, use in stack.options.uses.items():
        encoder, per_block = getattr(stack, part), len(stack.track_names(use))
        blocks = stack.blocks_of(use)
        if use.injection == "additive" and use.blocks == "all" and blocks[0]:
            logger.warning(
                f"the vectors of block {blocks[0]} of the {stack.name} are now added at its input "
                f"(counted from 0, as in --{stack.name}-layers-to-keep), and those of block 0 are "
                "gone; in training, both are added where layer drop leaves out block 0"
            )
        for name in [] if encoder is None else encoder.track_parameters():
            name = f"{prefix}.{part}.{name}"
            if name in weights and len(weights[name]) == whole * per_block:
                of_blocks = weights[name].unflatten(0, (whole, per_block))
                weights[name] = of_blocks[list(blocks)].flatten(0, 1)
                drop_baked(weights, prefix)
