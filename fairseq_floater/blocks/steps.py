"""Later decoding steps, in which all tokens stand at one position and the weights do not change.

Biases of the position and those of the projections are then added into one vector, and queries,
keys and values are computed in one product: a step takes no more products than without positions.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.places import in_dtype
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions


class BiasedAttention(NamedTuple):
    """An attention that has biases.

    Attributes:
        attention: the module.
        projections: those that its tracks are for, in their order.
        computed: how many of these, from the first on, a later step computes: not those of the
            source's keys and values.
    """

    attention: PositionedAttention
    projections: List[nn.Linear]
    computed: int


class StepBiases(AttentionPositions):
    """Computes queries, keys and values in one product, or queries alone.

    Args:
        projections: all three, or only that of the queries where keys and values are those of an
            earlier step.

    Attributes:
        weight: (projections, dim, dim).
        bias: (projections, 1, dim), the biases of the current step's position plus the
            projections' own.
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
    """What the steps of one decoding share, and copies of its state, too, since none changes it.

    Args:
        attentions: the attentions that have biases, in the order of the tracks.
    """

    def __init__(self, attentions: Sequence[BiasedAttention]):
        biases: List[Tensor] = []
        #: the attentions for which steps compute something, and where their biases are
        self._using: List[Tuple[PositionedAttention, StepBiases, slice]] = []
        for found in attentions:
            if found.computed:
                where = slice(len(biases), len(biases) + found.computed)
                positions = StepBiases(found.projections[: found.computed])
                self._using.append((found.attention, positions, where))
            biases += [projection.bias for projection in found.projections]
        self.biases = torch.stack(biases).unsqueeze(1)  # (tracks, 1, dim)

    def __deepcopy__(self, memo: Any) -> "DecodingSteps":
        return self  # with its model's own attentions

    @contextmanager
    def at(self, vectors: Tensor) -> Iterator[None]:
        """Within the context, use the biases of one position, with ``vectors`` (tracks, 1, dim)."""
        biases = self.biases + in_dtype(vectors, self.biases.dtype)
        try:
            for attention, positions, where in self._using:
                positions.bias = biases[where]
                attention.use(positions)
            yield
        finally:
            for attention, _, _ in self._using:
                attention.use(NEUTRAL)


@dataclass(frozen=True)
class FirstStep:
    """What later steps of a decoding need to know of the first; by default, nothing is known.

    Attributes:
        steps: None if biases act as in other passes.
        read_kept_tables: whether it read kept tables, whose parameters are then those of all steps.
    """

    steps: Optional[DecodingSteps] = None
    read_kept_tables: bool = False
