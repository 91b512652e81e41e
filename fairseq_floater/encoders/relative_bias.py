"""T5's relative bias: a learned score per head and bucket of distances (Raffel et al. 2020)."""

import math
from dataclasses import dataclass
from typing import List

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import KindOptions, Wanted
from fairseq_floater.encoders.distances import DistanceEncoder
from fairseq_floater.encoders.flags import AT_LEAST_ONE, Range, flag
from fairseq_floater.errors import UserError


@dataclass
class RelativeBiasOptions(KindOptions):
    """How distances are put into buckets."""

    relative_buckets: int = flag(
        32,
        "number of buckets of distances, even; in an encoder, half of them are for each direction; "
        "in the nearer half of a direction, each bucket holds one distance, and in the other half "
        "more and more (relative-bias)",
        range=Range("even and >= 4", lambda buckets: buckets >= 4 and buckets % 2 == 0),
    )
    relative_max_distance: int = flag(
        128,
        "distance at which the formula of the buckets ends; the last bucket begins a little before "
        "it (relative-bias)",
        range=AT_LEAST_ONE,
    )


def distance_buckets(distances: Tensor, buckets: int, max_distance: int) -> Tensor:
    """Return the bucket, (distances,) int64, of each distance >= 0 in one direction.

    The first half of the buckets hold one distance each; in the rest, the number of the bucket
    grows with the logarithm of the distance.
    """
    exact = buckets // 2
    far = distances.double().clamp(min=exact)
    growing = (far / exact).log() / math.log(max_distance / exact) * (buckets - exact)
    # Rounding of the logarithm must not move a distance on the border of two buckets.
    bucket = torch.where(distances < exact, distances.double(), exact + (growing + 1e-9).floor())
    return bucket.long().clamp(max=buckets - 1)


class RelativeBiasEncoder(DistanceEncoder):
    """A table of scores (directions, buckets per direction, heads), which starts at 0.

    Args:
        tracks, heads, directions, name: see ``DistanceEncoder``.
        buckets: number of buckets of all directions together.
        max_distance: see ``distance_buckets``.
    """

    kind = "relative-bias"
    Options = RelativeBiasOptions
    defined_by = ("relative_max_distance",)

    def __init__(
        self,
        tracks: int,
        heads: int,
        directions: int,
        *,
        buckets: int = 32,
        max_distance: int = 128,
        name: str = "model",
    ):
        super().__init__(tracks, heads, directions, name)
        self.buckets = buckets // directions
        self.max_distance = max_distance
        if max_distance <= self.buckets // 2:
            raise UserError(
                f"--relative-max-distance {max_distance} leaves nothing for the farther half of "
                f"--relative-buckets {buckets}: use more than {self.buckets // 2}"
            )
        self.weight = nn.Parameter(torch.zeros(directions, self.buckets, heads))

    @classmethod
    def from_options(cls, options: RelativeBiasOptions, wanted: Wanted) -> "RelativeBiasEncoder":
        return cls(
            wanted.tracks,
            wanted.heads,
            wanted.directions,
            buckets=options.relative_buckets,
            max_distance=options.relative_max_distance,
            name=wanted.name,
        )

    def by_distance(self, distances: Tensor) -> Tensor:
        rows = distance_buckets(distances, self.buckets, self.max_distance)
        return self.weight[:, rows.to(self.weight.device, non_blocking=True)]

    def output_parameters(self) -> List[str]:
        return ["weight"]
