"""FLOATER's form of positions in attention: biases of queries, keys and values (section 3.3)."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.blocks.places import look_up
from fairseq_floater.blocks.seam import AttentionPositions


class Track(NamedTuple):
    """One trajectory as a stretch of tokens reads it.

    Attributes:
        vectors: (rows, dim).
        rows: (length, batch), which row each token reads, >= 0; None where all tokens read the only
            row, in which the projection's own bias is contained (``with_own_biases``).
    """

    vectors: Tensor
    rows: Optional[Tensor]


class ProjectionBiases(AttentionPositions):
    """Adds b_q(t), b_k(t), b_v(t) to what attention projects.

    Args:
        query: of the queries.
        keys, values: of the keys and values, one for each stretch of their tokens: one, or two
            where self-attention reads the source and the target together; none in the later
            steps of a decoding where they are kept.
    """

    def __init__(self, query: Track, keys: Sequence[Track], values: Sequence[Track]):
        self.query = query
        self.keys = keys
        self.values_of_tokens = values

    def project(
        self,
        attention: MultiheadAttention,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        q = biased(attention.q_proj, query, [self.query])
        k = None if key is None else biased(attention.k_proj, key, self.keys)
        v = None if value is None else biased(attention.v_proj, value, self.values_of_tokens)
        return q, k, v


def biased(projection: nn.Linear, x: Tensor, tracks: Sequence[Track]) -> Tensor:
    """``projection`` of x (length, batch, dim), with a bias that depends on the position."""
    if tracks[0].rows is None:
        return F.linear(x, projection.weight, tracks[0].vectors)
    y = projection(x)
    vectors = [look_up(track.vectors, track.rows, y) for track in tracks]
    return y + (vectors[0] if len(vectors) == 1 else torch.cat(vectors))


def with_own_biases(vectors: Tensor, projections: Sequence[nn.Linear]) -> Tensor:
    """Vectors (tracks, dim) with the own biases of the projections that they are for.

    A step of a decoding, whose tokens all stand at one position, then costs what it costs without.
    """
    own = torch.stack([projection.bias for projection in projections])
    return (vectors + own).to(own.dtype)
