"""Queries and keys turned by angles, pair by pair of a head's features (Su et al. 2021)."""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_floater.blocks.seam import AttentionPositions


class Turn(NamedTuple):
    """The angles of a stretch of tokens.

    Attributes:
        table: (rows, 2, 1 or heads, pairs), cosines and sines.
        rows: (length, 1 or batch), the row each token reads, >= 0; None where it is the only one.
        interleaved: whether a pair is two neighbouring features; otherwise it has one feature from
            each half of those that are turned.
    """

    table: Tensor
    rows: Optional[Tensor]
    interleaved: bool

    def apply(self, x: Tensor) -> Tensor:
        """Return x (batch, heads, length, head dim) turned; the product is taken in float32."""
        cos, sin = self._looked_up().unbind(0)  # (1 or batch, 1 or heads, 1 or length, pairs)
        pairs = cos.size(-1)
        turned, rest = x[..., : 2 * pairs].to(cos.dtype), x[..., 2 * pairs :]
        if self.interleaved:
            a, b = turned.unflatten(-1, (pairs, 2)).unbind(dim=-1)
            turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
        else:
            a, b = turned.split(pairs, dim=-1)
            turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
        turned = turned.to(x.dtype)
        return torch.cat([turned, rest], dim=-1) if rest.size(-1) else turned

    def _looked_up(self) -> Tensor:
        """Return the tokens' cosines and sines.

        They broadcast to (2, batch, heads, length, pairs).
        """
        if self.rows is None:
            return self.table.permute(1, 0, 2, 3).unsqueeze(3)
        table = F.embedding(self.rows, self.table.flatten(1))  # (length, batch, ...)
        table = table.unflatten(2, self.table.shape[1:])
        return table.permute(2, 1, 3, 0, 4)


def cosines_and_sines(angles: Tensor, pairs: int) -> Tensor:
    """Return the cosines and sines of angles in radians, (..., pairs) or (..., heads x pairs).

    The result is (..., 2, 1 or heads, pairs).
    """
    angles = angles.unflatten(-1, (-1, pairs))
    return torch.stack([angles.cos(), angles.sin()], dim=-3)


class Rotation(AttentionPositions):
    """Turns queries and keys.

    Args:
        query: the turn of the queries.
        key: the turn of the keys; None in later decoding steps where the source's keys are kept.
    """

    def __init__(self, query: Turn, key: Optional[Turn]):
        self.query = query
        self.key = key

    def rotate(self, q: Tensor, k: Optional[Tensor]) -> Tuple[Tensor, Optional[Tensor]]:
        if k is not None and self.key is not None:
            k = self.key.apply(k)
        return self.query.apply(q), k
