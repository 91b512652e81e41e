"""Sinusoids of the position and, at depth, of the block number (paper, equation 7)."""

import math
from typing import Optional, Sequence

import torch
from torch import Tensor

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.flags import TimesOptions


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """Return (positions, dim) for (positions,): sines in the first half, cosines in the second.

    The frequencies run geometrically from 1 to 1/10000 over each half, as in tensor2tensor and
    fairseq; Vaswani et al. (2017) interleave the two, a permutation of the features.
    """
    half = dim // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float) * -(math.log(10000) / max(half - 1, 1))
    )
    angles = positions.float().unsqueeze(1) * frequencies.unsqueeze(0)
    features = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(features, (0, dim % 2))


class SinusoidalEncoder(PositionEncoder):
    """p^(n)_i = sinusoids(i + offset) [+ sinusoids(n), n the number of the block, from 1].

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        offset: the number of the first position; fairseq counts from ``padding_idx + 1``.
        blocks: numbers of the blocks whose sinusoids are added, one per track, from 0; if not
            given, none are added.
    """

    kind = "sinusoidal"
    Options = TimesOptions  # sinusoids also have values between whole positions
    learns = False

    def __init__(
        self,
        tracks: int,
        dim: int,
        *,
        offset: int = 0,
        blocks: Optional[Sequence[int]] = None,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        self.offset = offset
        self.block_numbers = None if blocks is None else tuple(blocks)

    @classmethod
    def from_options(cls, options: TimesOptions, wanted: Wanted) -> "SinusoidalEncoder":
        return cls(
            wanted.tracks,
            wanted.dim,
            offset=wanted.offset,
            blocks=wanted.blocks,
            name=wanted.name,
        )

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        table = sinusoids(positions + self.offset, self.dim).expand(self.tracks, -1, -1)
        if self.block_numbers is not None:
            numbers = torch.tensor(self.block_numbers) + 1
            table = table + sinusoids(numbers, self.dim).unsqueeze(1)
        return table.to(self.anchor.device, self.dtype, non_blocking=True)

    def at(self, positions: Tensor) -> Tensor:
        return self.trajectories(positions.to("cpu"))
