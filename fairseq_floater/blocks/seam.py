"""The one seam between positions and attention."""

from typing import TYPE_CHECKING, Optional, Tuple

from torch import Tensor

if TYPE_CHECKING:
    from fairseq.modules import MultiheadAttention


class AttentionPositions:
    """The positions that one attention gets for one pass. This base class changes nothing.

    A form of positions overrides the methods that it acts on: projections (FLOATER's biases),
    projected queries and keys (rotations), logits (biases by distance), or values (terms by
    distance). Most are made for one pass and one attention, and are told then where queries and
    keys stand (``forms``). The methods see only what attention computes.
    """

    #: whether ``values`` is overridden, which needs the weights of attention themselves
    needs_weights = False

    def project(
        self,
        attention: "MultiheadAttention",
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
    ) -> Tuple[Tensor, Optional[Tensor], Optional[Tensor]]:
        """Return queries, keys and values, (length, batch, dim) each, from inputs of that layout.

        Key and value are None where those of an earlier step are kept, and then stay None.
        """
        q = attention.q_proj(query)
        k = None if key is None else attention.k_proj(key)
        v = None if value is None else attention.v_proj(value)
        return q, k, v

    def rotate(self, q: Tensor, k: Optional[Tensor]) -> Tuple[Tensor, Optional[Tensor]]:
        """Return queries and keys turned by their positions, (batch, heads, length, head dim) each.

        Keys are kept rotated, since an angle depends only on a token's own position.
        """
        return q, k

    def scores(self, q: Tensor, k: Tensor) -> Optional[Tensor]:
        """Return what is added to the scaled logits, (1 or batch, heads, target, source), or None.

        It has the dtype of q. A term that is a product with q or k brings its own scaling, since q
        (batch, heads, target, head dim) is unscaled. k has all keys so far, so in incremental
        decoding the last row of targets belongs to the last key.
        """
        return None

    def values(self, weights: Tensor) -> Optional[Tensor]:
        """Return what is added to the attended values, (batch, heads, target, head dim), or None.

        Args:
            weights: (batch, heads, target, source), after softmax and dropout.
        """
        return None


class Together(AttentionPositions):
    """Two forms of positions in one attention: biases of the projections, and one other form.

    Args:
        biases: acts on projections only.
        other: acts only on what has been projected.
    """

    def __init__(self, biases: AttentionPositions, other: AttentionPositions):
        self.needs_weights = other.needs_weights
        self.project = biases.project  # type: ignore[method-assign]  # each place has one owner
        self.rotate = other.rotate  # type: ignore[method-assign]
        self.scores = other.scores  # type: ignore[method-assign]
        self.values = other.values  # type: ignore[method-assign]


class Neutral(AttentionPositions):
    """No positions. There is only one instance, which all copies of a model share."""

    def __reduce__(self) -> str:
        return "NEUTRAL"


#: no positions in this attention
NEUTRAL = Neutral()
