"""Later steps of a decoding: all tokens stand at one position, and the weights do not change.

Biases of the position and those of the projections are then one vector, and queries, keys and
values one product: a step takes no more products than without positions.
"""

from contextlib import contextmanager
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.places import in_dtype
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions

#: an attention that has biases, with the projections that its tracks are for, in their order, and
#: how many of these, the first ones, a step computes: not keys and values of the source, say
BiasedAttention = Tuple[PositionedAttention, List[nn.Linear], int]


class StepBiases(AttentionPositions):
    """Computes queries, keys and values in one product, or queries alone.

    Args:
        projections: of all three; or of the queries, where keys and values are those of an earlier
            step.

    Attributes:
        weight: (projections, dim, dim).
        bias: (projections, 1, dim), of the current step: those of its position and their own.
    """

    bias: Tensor

    def __init__(self, projections: Sequence[nn.Linear]):
        weights = [projection.weight for projection in projections]
        stacked = torch.stack(weights) if len(weights) > 1 else weights[0].unsqueeze(0)
        self.weight = stacked.transpose(1, 2)

    def project(
        self,
        attention: MultiheadAttention,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        queries = query.expand(len(self.weight), -1, -1)
        computed = torch.baddbmm(self.bias, queries, self.weight)
        if key is None:
            return computed, None, None
        q, k, v = computed.split(1)  # (1, batch, dim) each
        return q, k, v


class DecodingSteps:
    """What the steps of one decoding share.

    Args:
        attentions: in the order of the tracks.
    """

    def __init__(self, attentions: Sequence[BiasedAttention]):
        biases: List[Tensor] = []
        #: those of which steps compute something, with where their biases are
        self._using: List[Tuple[PositionedAttention, StepBiases, slice]] = []
        for attention, projections, computed in attentions:
            if computed:
                where = slice(len(biases), len(biases) + computed)
                self._using.append((attention, StepBiases(projections[:computed]), where))
            biases += [projection.bias for projection in projections]
        self.biases = torch.stack(biases).unsqueeze(1)  # (tracks, 1, dim)

    @contextmanager
    def at(self, vectors: Tensor) -> Iterator[None]:
        """Within, attentions use the biases of one position, whose vectors are (tracks, 1, dim)."""
        biases = self.biases + in_dtype(vectors, self.biases.dtype)
        try:
            for attention, positions, where in self._using:
                positions.bias = biases[where]
                attention.use(positions)
            yield
        finally:
            for attention, _, _ in self._using:
                attention.use(NEUTRAL)
