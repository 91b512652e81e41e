"""The base of encoders whose tables are over the distance of two tokens, not over positions."""

from typing import Optional

from torch import Tensor

from fairseq_floater.encoders.base import PositionEncoder


class DistanceEncoder(PositionEncoder):
    """Each head's scores by distance: (tracks, distances, heads), distance 0 first.

    The tracks of a block are the directions: from a query to keys before it (and itself) and, if
    it sees any, to keys after it. The blocks of a stack have the same scores unless the encoder has
    scores for each block.

    Args:
        tracks: blocks x directions.
        heads: number of attention heads.
        directions: 1 (to what is before) or 2 (also to what is after).
        name: for error messages.
    """

    injections = ("scores",)

    def __init__(self, tracks: int, heads: int, directions: int, name: str = "model"):
        super().__init__(tracks, heads, name)
        self.directions = directions

    def by_distance(self, distances: Tensor) -> Tensor:
        """Return scores (directions, distances, heads) at ``distances`` (distances,) >= 0, float64.

        They are (tracks, distances, heads) if blocks have scores of their own.
        """
        raise NotImplementedError

    @property
    def sets(self) -> int:
        """How many blocks have scores of pairs of their own; 1 if all have the same."""
        return 1

    def pairs(self, queries: Tensor, keys: Tensor, block: int = 0) -> Tensor:
        """Return scores (..., queries, keys, heads) at positions (..., queries) and (..., keys).

        Only encoders whose class sets ``by_pair`` have them; ``block`` is one of ``sets``.
        """
        raise NotImplementedError

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        scores = self.by_distance(positions).to(self.anchor.device, self.dtype, non_blocking=True)
        return scores.repeat(self.tracks // len(scores), 1, 1)

    def first(self, length: int) -> Tensor:
        """Return scores at distances 0 .. length - 1, computed again each time, which is cheap."""
        return self.computed(self._range(0, length))
