"""Scores by distance, which are added to the logits: T5, ALiBi, FIRE, FLOATER over distance."""

from typing import Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.seam import AttentionPositions


class DistanceScores(AttentionPositions):
    """Adds to the logit of a query and a key the entry of a table for their distance.

    Distances are counted in columns. Within a sentence they equal the distances between its tokens,
    wherever the padding is.

    Args:
        before: (distances, heads), for the query's own key and those before it, distance 0 first;
            it has at least as many distances as there are keys.
        after: likewise for keys after the query; None where it sees none.
    """

    def __init__(self, before: Tensor, after: Optional[Tensor] = None):
        self.before = before
        self.after = after

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores, (1, heads, target, source)."""
        queries, keys = q.size(2), k.size(2)
        if torch.compiler.is_exporting():
            return self._by_index(queries, keys).to(q.dtype)
        before = self.before[:keys].flip(0)
        if self.after is None:
            after = before.new_zeros(queries - 1, before.size(1))
        else:
            after = self.after[1:queries]
        # Scores by the distance from query to key, from -(keys - 1) to queries - 1. The last query
        # stands at the last key and reads the first stretch of this line; each earlier query reads
        # a stretch that starts one further on.
        # The dtype changes last, so that gradients are summed over the queries in full precision.
        line = torch.cat([before, after]).t()  # (heads, keys + queries - 1)
        return line.unfold(1, keys, 1).to(q.dtype).flip(1).unsqueeze(0)

    def _by_index(self, queries: int, keys: int) -> Tensor:
        """Return the same scores, for export: ``unfold`` would fix the number of keys."""
        key = torch.arange(keys, device=self.before.device)
        distance = key[None, :] - (key[:queries] + (keys - queries))[:, None]
        scores = self.before[(-distance).clamp(min=0)]
        if self.after is not None:
            later = (distance > 0).unsqueeze(-1)
            scores = torch.where(later, self.after[distance.clamp(min=0)], scores)
        return scores.permute(2, 0, 1).unsqueeze(0)


class GivenScores(AttentionPositions):
    """Adds scores that are given for every pair of query and key.

    Args:
        given: (1 or batch, heads, target, source).
    """

    def __init__(self, given: Tensor):
        self.given = given

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return self.given.to(q.dtype)
