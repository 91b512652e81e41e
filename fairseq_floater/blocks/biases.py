"""FLOATER's form of positions in attention: biases of queries, keys and values (section 3.3)."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.blocks.places import autocasting, in_dtype, look_up
from fairseq_floater.blocks.seam import AttentionPositions


class Track(NamedTuple):
    """One trajectory, and which of its rows a stretch of tokens reads.

    Attributes:
        vectors: (rows, dim).
        rows: (length, 1 or batch), the row that each token reads, >= 0.
    """

    vectors: Tensor
    rows: Tensor


#: one track for each of the stretches of tokens that are read one after another
Bias = Sequence[Track]


class ProjectionBiases(AttentionPositions):
    """Adds b_q(t), b_k(t), b_v(t) to what attention projects.

    Args:
        query: biases of the queries.
        key, value: biases of the keys and values. They have two stretches where self-attention
            reads the source and the target together. They are None in later decoding steps where
            the keys and values of the source are kept.
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
    """Apply ``projection`` to x (length, batch, dim), with a bias that depends on the position."""
    if bias is None:
        raise RuntimeError("the positions of the projected tokens are not known")
    if not is_plain(projection):  # it computes its product itself
        y = projection(x)
        parts = [look_up(track.vectors, track.rows, y).expand(-1, y.size(1), -1) for track in bias]
        return y + (parts[0] if len(parts) == 1 else torch.cat(parts))
    # The product is added in place to the biases of the positions, which include the projection's
    # own bias. A separate addition afterwards would move as much memory once more.
    stretches = [_at_tokens(track, x.dtype, x.size(1), projection.bias) for track in bias]
    tokens = stretches[0] if len(stretches) == 1 else torch.cat(stretches)
    product = tokens.addmm_(x.flatten(0, 1), projection.weight.t())
    return product.view(*x.shape[:2], -1)


def is_plain(projection: nn.Linear) -> bool:
    """True if a projection is torch's own, with a bias and no hooks, and autocast is off.

    Quantisation noise is a hook, adapters and quantised projections are classes of their own, and
    autocast chooses the dtype of a product by its own rules.
    """
    if type(projection) is not nn.Linear or projection.bias is None:
        return False
    hooked = projection._forward_hooks or projection._forward_pre_hooks
    hooked = hooked or projection._backward_hooks or projection._backward_pre_hooks
    return not hooked and not autocasting(projection.weight)


def _at_tokens(track: Track, dtype: torch.dtype, batch: int, projection_bias: Tensor) -> Tensor:
    """Return the biases of tokens, including ``projection_bias``: (length * batch, dim).

    This is a new tensor, which the caller may overwrite.
    """
    # The dtype changes after the look-up, so that gradients are summed over the tokens in full
    # precision.
    length, sentences = track.rows.shape
    if length == 1 or sentences == batch:
        rows = track.rows.expand(-1, batch).flatten()
        return in_dtype(F.embedding(rows, track.vectors + projection_bias), dtype)
    # There is one row of positions for all sentences: the gradient is summed over the sentences
    # before it is scattered into the table.
    found = in_dtype(F.embedding(track.rows, track.vectors) + projection_bias, dtype)
    return found.expand(-1, batch, -1).reshape(length * batch, -1)
