"""The periods of the oscillators that FLOATER's dynamics start as."""

import math

import torch
from torch import Tensor

#: in positions: twice the period of the fastest sinusoid of Vaswani et al. (2017), so that a
#: solver of one step per position follows it: over 64 positions within 1.6 % (all frequencies
#: together within 0.2 %)
SHORTEST_PERIOD = 4 * math.pi


def spread_periods(count: int, shortest: float, longest: float) -> Tensor:
    """(count,) periods, evenly spaced in the logarithm, in an order that mixes long and short.

    Attention heads share out neighbouring features, and each should have periods of all lengths:
    so the order is van der Corput's, whose every stretch is spread over the whole range.
    """
    places = torch.tensor([int(f"{k:b}"[::-1], 2) / 2 ** len(f"{k:b}") for k in range(count)])
    return shortest * (longest / shortest) ** places
