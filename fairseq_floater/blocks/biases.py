"""FLOATER's form of positions in attention: biases of queries, keys and values (section 3.3)."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.blocks.places import autocasting, in_dtype, look_up
from fairseq_floater.blocks.seam import AttentionPositions


class Track(NamedTuple):
    """One trajectory as a stretch of tokens reads it.

    Attributes:
        vectors: (rows, dim).
        rows: (length, 1 or batch), which row each token reads, >= 0.
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
    if not is_plain(projection):  # it computes its product itself
        y = projection(x)
        parts = [look_up(track.vectors, track.rows, y).expand(-1, y.size(1), -1) for track in bias]
        return y + (parts[0] if len(parts) == 1 else torch.cat(parts))
    # The biases of positions take the place of the projection's own in its product, which is
    # written on top of them: an addition afterwards would move as much memory once more.
    stretches = [_at_tokens(track, x.dtype, x.size(1), projection.bias) for track in bias]
    tokens = stretches[0] if len(stretches) == 1 else torch.cat(stretches)
    product = tokens.addmm_(x.flatten(0, 1), projection.weight.t())
    return product.view(*x.shape[:2], -1)


def is_plain(projection: nn.Linear) -> bool:
    """Whether a projection is torch's own, and no hook of its own changes it or listens to it.

    Noise of quantisation is a hook, an adapter or a quantised projection is a class of its own, and
    autocast chooses the dtype of a product by its own rules.
    """
    if type(projection) is not nn.Linear or projection.bias is None:
        return False
    hooked = projection._forward_hooks or projection._forward_pre_hooks
    hooked = hooked or projection._backward_hooks or projection._backward_pre_hooks
    return not hooked and not autocasting(projection.weight)


def _at_tokens(track: Track, dtype: torch.dtype, batch: int, projection_bias: Tensor) -> Tensor:
    """Biases of tokens, ``projection_bias`` among them: (length * batch, dim), a new tensor.

    The caller may write on it.
    """
    vectors = in_dtype(track.vectors, dtype)
    length, sentences = track.rows.shape
    if length == 1 or sentences == batch:
        return F.embedding(track.rows.expand(-1, batch).flatten(), vectors + projection_bias)
    # One row of positions for all sentences: the gradient is summed over them before it is
    # scattered into the table.
    found = F.embedding(track.rows, vectors) + projection_bias
    return found.expand(-1, batch, -1).reshape(length * batch, -1)
