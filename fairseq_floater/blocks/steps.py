"""Later steps of a decoding, whose tokens all stand at one position and whose weights rest.

Biases of the position and those of the projections are then one vector, and queries, keys and
values one product: a step costs what it costs without positions.
"""

from typing import Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.blocks.places import in_dtype
from fairseq_floater.blocks.seam import AttentionPositions


class StepBiases(AttentionPositions):
    """Projects queries, keys and values at once, or queries alone.

    Args:
        weight: (3 dim, dim), or (dim, dim) where keys and values are those of an earlier step.
        bias: (3 dim,), or (dim,), with the projections' own biases added.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight = weight
        self.bias = bias

    def project(
        self,
        attention: MultiheadAttention,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        joined = F.linear(query, self.weight, self.bias)  # (1, batch, 3 dim or dim)
        if key is None:
            return joined, None, None
        q, k, v = joined.chunk(3, dim=2)
        return q, k, v


class DecodingSteps:
    """What the steps of one decoding share.

    Args:
        attentions: of each block, by kind: those whose queries, keys and values have biases, or
            whose queries have, in the order of the tracks.
        projections: that the tracks are for, in order.

    Attributes:
        weights: of each block, by attention, see ``StepBiases``.
        biases: (tracks, dim), of the projections themselves.
    """

    def __init__(
        self, blocks: Sequence[Dict[str, List[nn.Linear]]], projections: Sequence[nn.Linear]
    ):
        self.weights = [
            {kind: torch.cat([p.weight for p in joined]) for kind, joined in block.items()}
            for block in blocks
        ]
        self.biases = torch.stack([projection.bias for projection in projections])

    def with_own_biases(self, vectors: Tensor) -> Tensor:
        """The whole biases (tracks, dim), from those of the position (tracks, dim)."""
        return (self.biases + in_dtype(vectors, self.biases.dtype)).to(self.biases.dtype)
