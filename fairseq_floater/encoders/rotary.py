"""Rotary positions: queries and keys turned by angles that grow with the position (Su et al. 2021).

The product of a query and a key then depends only on the distance of the two.
"""

from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.flags import Range, TimesOptions, flag
from fairseq_floater.errors import UserError


@dataclass
class RotaryOptions(TimesOptions):
    """Which features of a head are turned, and how far."""

    rotary_base: float = flag(
        10000.0,
        "pair n of the P pairs of features that are turned goes round at base^(-n / P) radians per "
        "position (rotary, floater as rotation)",
        range=Range("> 1", lambda base: 1 < base < float("inf")),
    )
    rotary_share: float = flag(
        1.0,
        "share of a head's width that is turned (rotary, floater as rotation)",
        range=Range("> 0 and <= 1", lambda share: 0 < share <= 1),
    )
    rotary_layout: str = flag(
        "interleaved",
        "which features form a pair: neighbours, as in the paper, or one of each half (rotary, "
        "floater as rotation)",
        choices=("interleaved", "halves"),
    )


def rotated_pairs(options: RotaryOptions, head_dim: int) -> int:
    """Return how many pairs of a head's features are turned.

    Raises:
        UserError: if there is none.
    """
    pairs = int(head_dim * options.rotary_share / 2)
    if pairs < 1:
        raise UserError(
            f"--rotary-share {options.rotary_share} of a head of width {head_dim} is less than a "
            "pair of features: use a larger share, or fewer heads"
        )
    return pairs


def rotary_angles(positions: Tensor, pairs: int, base: float) -> Tensor:
    """Return the angles (positions, pairs) of (positions,) in radians, float64, from -pi to pi.

    Whole turns are removed before anything is rounded to float32.
    """
    speeds = base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    angles = positions.to("cpu", torch.float64).unsqueeze(1) * speeds
    return angles - 2 * torch.pi * (angles / (2 * torch.pi)).round()


class RotaryEncoder(PositionEncoder):
    """The same angles (positions, pairs) for every track, and so for all heads and blocks.

    Args:
        tracks, name: see ``PositionEncoder``.
        pairs: number of pairs of features that are turned in each head.
        base: see ``rotary_angles``.
    """

    kind = "rotary"
    Options = RotaryOptions
    even_rotation = True
    injections = ("rotation",)
    learns = False
    defined_by = ("rotary_base", "rotary_share", "rotary_layout")

    def __init__(self, tracks: int, pairs: int, *, base: float = 10000.0, name: str = "model"):
        super().__init__(tracks, pairs, name)
        self.base = base

    @classmethod
    def from_options(cls, options: RotaryOptions, wanted: Wanted) -> "RotaryEncoder":
        pairs = rotated_pairs(options, wanted.head_dim)
        return cls(wanted.tracks, pairs, base=options.rotary_base, name=wanted.name)

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        angles = rotary_angles(positions, self.dim, self.base)
        return angles.to(self.anchor.device, self.dtype, non_blocking=True).expand(
            self.tracks, -1, -1
        )

    def at(self, positions: Tensor) -> Tensor:
        return self.trajectories(positions)
