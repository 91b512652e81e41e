"""The periods of the oscillators that FLOATER's dynamics start as."""

import math

import torch
from torch import Tensor

from fairseq_floater.encoders.flags import Range

#: in positions: twice the period of the fastest sinusoid of Vaswani et al. (2017), so that a
#: solver with one step per position follows it within 1.6 % over 64 positions (within 0.2 % for all
#: frequencies together)
SHORTEST_PERIOD = 4 * math.pi

#: range of the flags for the longest period
LONGEST_PERIOD = Range("> 4 pi", lambda period: SHORTEST_PERIOD < period < float("inf"))


def spread_periods(count: int, shortest: float, longest: float) -> Tensor:
    """Return (count,) periods, evenly spaced in the logarithm, with long and short ones mixed.

    The first is the shortest; none is as long as ``longest``, which they come near to: with a
    count of 16 and periods up to 1,000 positions, the longest is 761.

    Each attention head gets a stretch of neighbouring features, and should have periods of all
    lengths. The order is therefore van der Corput's, in which every stretch covers the whole range.
    """
    places = torch.tensor([int(f"{k:b}"[::-1], 2) / 2 ** len(f"{k:b}") for k in range(count)])
    return shortest * (longest / shortest) ** places
