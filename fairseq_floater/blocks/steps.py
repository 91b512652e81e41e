"""Later steps of a decoding, whose tokens all stand at one position and whose weights rest.

Biases of the position and those of the projections are then one vector, and queries, keys and
values one product: a step costs what it costs without positions.
"""

from contextlib import contextmanager
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.places import in_dtype
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions


class StepBiases(AttentionPositions):
    """Makes queries, keys and values in one product, or queries alone.

    Args:
        joined: the projections of all three; or that of the queries, where keys and values are
            those of an earlier step.

    Attributes:
        weight: (projections, dim, dim).
        bias: (projections, 1, dim), of the step under way: those of its position and their own.
    """

    bias: Tensor

    def __init__(self, joined: Sequence[nn.Linear]):
        weights = [projection.weight for projection in joined]
        stacked = torch.stack(weights) if len(weights) > 1 else weights[0].unsqueeze(0)
        self.weight = stacked.transpose(1, 2)

    def project(
        self,
        attention: MultiheadAttention,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        made = torch.baddbmm(self.bias, query.expand(len(self.weight), -1, -1), self.weight)
        if key is None:
            return made, None, None
        q, k, v = made.split(1)  # (1, batch, dim) each
        return q, k, v


class DecodingSteps:
    """What the steps of one decoding share.

    Args:
        attentions: those that have biases, in the order of the tracks: each with the projections
            that its tracks are for, and how many of them, the first ones, a step makes. (Keys and
            values of the source are those of the first step.)
    """

    def __init__(self, attentions: Sequence[Tuple[PositionedAttention, List[nn.Linear], int]]):
        biases: List[Tensor] = []
        self._made: List[Tuple[PositionedAttention, StepBiases]] = []
        self._sizes: List[int] = []  # how many biases each of those makes, and then does not
        for attention, joined, made in attentions:
            biases += [projection.bias for projection in joined]
            if made:
                self._made.append((attention, StepBiases(joined[:made])))
                self._sizes += [made, 0]
            self._sizes[-1] += len(joined) - made
        self.biases = torch.stack(biases).unsqueeze(1)  # (tracks, 1, dim)

    @contextmanager
    def at(self, vectors: Tensor) -> Iterator[None]:
        """Within, attentions stand where a step does, whose vectors are (tracks, 1, dim)."""
        biases = self.biases + in_dtype(vectors, self.biases.dtype)
        try:
            for (attention, positions), bias in zip(self._made, biases.split(self._sizes)[::2]):
                positions.bias = bias
                attention.use(positions)
            yield
        finally:
            for attention, _ in self._made:
                attention.use(NEUTRAL)
