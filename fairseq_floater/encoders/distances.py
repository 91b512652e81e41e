"""What encoders share whose tables are over the distance of two tokens, not over positions."""

from typing import Optional

from torch import Tensor

from fairseq_floater.encoders.base import PositionEncoder


class DistanceEncoder(PositionEncoder):
    """Each head's scores by distance: (tracks, distances, heads), distance 0 first.

    The tracks of a block are the directions: from a query to keys before it (and itself), and,
    where it sees any, to keys after it. Blocks of a stack have the same scores where the encoder
    has no others.

    Args:
        tracks: blocks x directions.
        heads: of attention.
        directions: 1 (to what is before) or 2 (also to what is after).
        name: for error messages.
    """

    injections = ("scores",)

    def __init__(self, tracks: int, heads: int, directions: int, name: str = "model"):
        super().__init__(tracks, heads, name)
        self.directions = directions

    def by_distance(self, distances: Tensor) -> Tensor:
        """Scores (directions, distances, heads) at ``distances`` (distances,) >= 0, float64.

        Or (tracks, distances, heads), where blocks have scores of their own.
        """
        raise NotImplementedError

    @property
    def sets(self) -> int:
        """How many blocks have scores of pairs of their own; 1 where all have the same."""
        return 1

    def pairs(self, queries: Tensor, keys: Tensor, block: int = 0) -> Tensor:
        """Scores (..., queries, keys, heads) of tokens at positions (..., queries), (..., keys).

        Of an encoder whose class says ``by_pair``; ``block`` is one of ``sets``.
        """
        raise NotImplementedError

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        scores = self.by_distance(positions).to(self.anchor.device, self.dtype, non_blocking=True)
        return scores.repeat(self.tracks // len(scores), 1, 1)

    def first(self, length: int) -> Tensor:
        """At the distances 0 .. length - 1; computed anew at every call, which is cheap."""
        return self.computed(self._range(0, length))

    def extra_repr(self) -> str:
        return f"tracks={self.tracks}, heads={self.dim}, directions={self.directions}"
