"""Vectors of clipped distances beside keys and values (Shaw et al. 2018, section 3).

This is the injection ``relative``. T5's relative bias, ``encoders.relative_bias``, adds scores.
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.seam import AttentionPositions


class RelativeVectors(AttentionPositions):
    """Adds to each key and value that a query sees a vector for its distance from the query.

    Products with the vectors are taken once for each distance, never for each pair of tokens (the
    paper's section 3.3).

    Args:
        max_distance: k, beyond which distances are clipped.
        head_dim: width of a head.
        key: (distances, dim), from distance -k to k, or to 0 where queries see no later key; dim is
            that of one head, or of all heads together.
        value: likewise; None where values stay as they are.
    """

    def __init__(
        self, max_distance: int, head_dim: int, key: Tensor, value: Optional[Tensor] = None
    ):
        self.max_distance = max_distance
        self.head_dim = head_dim
        self.key = key
        self.value = value
        self.needs_weights = value is not None

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scaled scores, (batch, heads, target, source)."""
        scaled = q * q.size(3) ** -0.5
        by_distance = scaled @ _of_heads(self.key, self.head_dim, q).transpose(1, 2)
        rows = self._rows(q.size(2), k.size(2), q.device).expand(*q.shape[:2], -1, -1)
        return _full(by_distance).gather(3, rows).to(q.dtype)

    def values(self, weights: Tensor) -> Optional[Tensor]:
        if self.value is None:
            return None
        batch, heads, queries, keys = weights.shape
        rows = self._rows(queries, keys, weights.device).expand(batch, heads, -1, -1)
        full = _full(weights)
        by_distance = full.new_zeros(batch, heads, queries, len(self.value))
        by_distance = by_distance.scatter_add(3, rows, full).to(weights.dtype)
        return by_distance @ _of_heads(self.value, self.head_dim, weights)

    def _rows(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """Return which vector each pair has, (queries, keys); the last query is at the last key."""
        key = torch.arange(keys, device=device)
        query = torch.arange(keys - queries, keys, device=device)
        distance = (key[None, :] - query[:, None]).clamp(-self.max_distance, self.max_distance)
        return (distance + self.max_distance).clamp(max=len(self.key) - 1)


def _full(x: Tensor) -> Tensor:
    """Return ``x`` in full precision, in which sums over many keys of one distance are taken."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _of_heads(table: Tensor, head_dim: int, like: Tensor) -> Tensor:
    """Reshape (distances, dim) to (1 or heads, distances, head dim), in the dtype of ``like``."""
    return table.unflatten(1, (-1, head_dim)).transpose(0, 1).to(like.dtype)
