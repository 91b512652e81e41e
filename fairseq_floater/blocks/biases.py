"""FLOATER's form of positions in attention: biases of queries, keys and values (section 3.3)."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from fairseq_floater.blocks.places import look_up
from fairseq_floater.blocks.seam import AttentionPositions


class Track(NamedTuple):
    """One trajectory as a stretch of tokens reads it.

    Attributes:
        vectors: (rows, dim).
        rows: (length, batch), which row each token reads, >= 0.
    """

    vectors: Tensor
    rows: Tensor


#: tracks for the stretches of tokens that are read one after another
Bias = Sequence[Track]


class ProjectionBiases(AttentionPositions):
    """Adds b_q(t), b_k(t), b_v(t) to what attention projects.

    Args:
        query: of the queries.
        key, value: of the keys and values. They have two stretches where self-attention reads
            the source and the target together. None in the later steps of a decoding where those
            of the source are kept.
    """

    def __init__(self, query: Bias, key: Optional[Bias], value: Optional[Bias]):
        self.query_bias = query
        self.key_bias = key
        self.value_bias = value

    def project(
        self,
        attention: MultiheadAttention,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        q = biased(attention.q_proj, query, self.query_bias)
        k = None if key is None else biased(attention.k_proj, key, self.key_bias)
        v = None if value is None else biased(attention.v_proj, value, self.value_bias)
        return q, k, v


def biased(projection: nn.Linear, x: Tensor, bias: Optional[Bias]) -> Tensor:
    """``projection`` of x (length, batch, dim), with a bias that depends on the position."""
    if bias is None:
        raise RuntimeError("tokens are projected whose positions nobody told")
    y = projection(x)
    vectors = [look_up(track.vectors, track.rows, y) for track in bias]
    whole = vectors[0]
    if len(vectors) > 1:
        whole = torch.cat([v.expand(-1, y.size(1), -1) for v in vectors])
    # In place it moves less memory, but a gradient through it would take more launches.
    return y + whole if torch.is_grad_enabled() else y.add_(whole)
