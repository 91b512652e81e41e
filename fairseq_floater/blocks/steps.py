"""Later steps of a decoding, whose tokens all stand at one position and whose weights rest.

Biases of the position and those of the projections are then one vector, and queries, keys and
values one product: a step costs what it costs without positions.
"""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

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
        blocks: of each block, by attention: the projections that its tracks are for, in their
            order, and how many of them a step makes: all of self-attention's, and of
            cross-attention's the first, that of the queries.
    """

    def __init__(self, blocks: Sequence[Mapping[str, Tuple[List[nn.Linear], int]]]):
        found = [joined for block in blocks for joined, _ in block.values()]
        self.biases = torch.stack([p.bias for joined in found for p in joined])
        dim = self.biases.size(1)
        # The biases follow each other; of each attention those that a step makes, then the rest.
        self._sizes: List[int] = []
        self._weights: List[Dict[str, Optional[Tensor]]] = []
        for block in blocks:
            weights: Dict[str, Optional[Tensor]] = {}
            for attention, (joined, made) in block.items():
                self._sizes += [made * dim, (len(joined) - made) * dim]
                weights[attention] = torch.cat([p.weight for p in joined[:made]]) if made else None
            self._weights.append(weights)

    def at(self, vectors: Tensor) -> List[Dict[str, StepBiases]]:
        """The positions of each block, by attention, at a step's vectors (tracks, dim)."""
        biases = self.biases + in_dtype(vectors, self.biases.dtype)
        made = iter(biases.flatten().split(self._sizes)[::2])
        blocks = []
        for weights in self._weights:
            pairs = [(attention, weight, next(made)) for attention, weight in weights.items()]
            blocks.append({a: StepBiases(w, bias) for a, w, bias in pairs if w is not None})
        return blocks
