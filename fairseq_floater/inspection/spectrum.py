"""Measures of a table of position encodings, of shape (tracks, positions, dim)."""

from dataclasses import dataclass
from typing import Dict, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

#: a remainder of float32 encodings below this share of their norm is rounding
ROUNDING = 1e-6
#: the highest peak of a Fourier spectrum counts only if above this many times the mean power
FLAT = 4.0
#: numbers of first singular directions whose variance is reported
DIRECTIONS = (1, 2, 4, 8)


@dataclass
class Spectrum:
    """How the encodings of a range of positions vary.

    Attributes:
        effective_rank: see ``effective_rank``.
        variance: share of the variance in the first singular directions, by their number.
        period: see ``dominant_period``.
    """

    effective_rank: float
    variance: Dict[int, float]
    period: Optional[float]

    @classmethod
    def of(cls, table: Tensor) -> "Spectrum":
        """Measure all positions of a float64 ``table``; all but the period average over tracks."""
        shares = variance_shares(table)
        held = {count: float(shares[:, :count].sum(dim=1).mean()) for count in DIRECTIONS}
        return cls(float(effective_rank(shares).mean()), held, dominant_period(table))


def variance_shares(table: Tensor) -> Tensor:
    """Return singular directions' shares of a track's variance, falling; (tracks, directions).

    They are the squared singular values of the table (positions, dim) centred over positions,
    divided by their sum; all are 0 for a track that does not vary.
    """
    centred = _centred(table)
    if table.size(1) > table.size(2):
        centred = centred.transpose(1, 2)
    # Eigenvalues of the smaller Gram matrix: far cheaper than singular values, and already squared.
    squares = torch.linalg.eigvalsh(centred @ centred.transpose(1, 2)).flip(1).clamp(min=0.0)
    total = squares.sum(dim=1, keepdim=True)
    return squares / total.where(total > 0, 1.0)


def effective_rank(shares: Tensor) -> Tensor:
    """Return the participation ratio, 1 / sum of squared shares, (tracks,).

    It is k for k directions of equal size, and 0 without variance. ``shares`` (tracks, directions)
    are those of ``variance_shares``.
    """
    squares = shares.square().sum(dim=1)
    return squares.where(squares == 0, 1 / squares)


def dominant_period(table: Tensor) -> Optional[float]:
    """Return the period with the most Fourier power, in positions; None if none stands out.

    The power is the mean over tracks and features, after removing the mean and linear trend of
    each. A period as long as the table is a slow drift that has not come round once.
    """
    if table.size(1) <= 2 * FLAT:
        return None  # too few frequencies for one to stand out
    centred = _centred(table)
    time = torch.arange(table.size(1)).to(table)
    time = time - time.mean()
    slopes = torch.einsum("i,tid->td", time, centred) / time.square().sum()
    rest = _without_rounding(centred - time[:, None] * slopes[:, None], table)
    power = torch.fft.rfft(rest, dim=1).abs().square().mean(dim=(0, 2))[1:]
    if not bool(power.max() > FLAT * power.mean()):
        return None
    return table.size(1) / (int(power.argmax()) + 1)


def similarity(table: Tensor) -> Tensor:
    """Return cosines between the encodings of two positions, (tracks, positions, positions).

    The encodings are centred over positions: what a track has in common at all of them would
    otherwise hide how they differ.
    """
    directions = F.normalize(_centred(table), dim=2)
    return directions @ directions.transpose(1, 2)


def spread(table: Tensor) -> Tensor:
    """Return how far tracks are apart, (positions,): 0 if all coincide, 1 if their mean is 0.

    This is the root mean square distance from the mean of the tracks, relative to the root mean
    square of their norms.
    """
    distances = (table - table.mean(dim=0)).square().sum(dim=2).mean(dim=0)
    squares = table.square().sum(dim=2).mean(dim=0)
    return (distances / squares.where(squares > 0, 1.0)).sqrt()


def _centred(table: Tensor) -> Tensor:
    return _without_rounding(table - table.mean(dim=1, keepdim=True), table)


def _without_rounding(rest: Tensor, table: Tensor) -> Tensor:
    """Return ``rest`` (tracks, positions, dim), 0 where a track is only rounding of ``table``."""
    rounding = rest.flatten(1).norm(dim=1) <= ROUNDING * table.flatten(1).norm(dim=1)
    return rest.masked_fill(rounding[:, None, None], 0.0)
