"""Learned Fourier features of the position, and a network over them (Li et al. 2021).

Its tracks are the same as FLOATER's and are injected alike, but without a differential equation:
what FLOATER solves for step by step, this computes for each position by itself.
"""

import math
from dataclasses import dataclass
from typing import List, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.flags import AT_LEAST_ONE, TimesOptions, flag
from fairseq_floater.encoders.oscillators import LONGEST_PERIOD, SHORTEST_PERIOD, spread_periods
from fairseq_floater.ode.layers import Linear

#: mean square of a hidden unit at the start: gelu of a value of variance 1/6, which torch's weights
#: give for features whose squares add up to the number of frequencies
HIDDEN_POWER = 0.055


@dataclass
class FourierOptions(TimesOptions):
    """The features and the network."""

    fourier_frequencies: int = flag(
        64, "learned frequencies, each with a sine and a cosine (fourier)", range=AT_LEAST_ONE
    )
    fourier_hidden_dim: int = flag(
        32, "hidden size of the network over the features (fourier)", range=AT_LEAST_ONE
    )
    fourier_longest_period: float = flag(
        1000.0,
        "bound on the frequencies' periods at the start, in positions, which the slowest comes "
        "near to; the period of the fastest is 4 pi, as with floater's oscillators (fourier)",
        range=LONGEST_PERIOD,
    )


class FourierEncoder(PositionEncoder):
    """p_n(i) = A_n gelu(W [cos(f i); sin(f i)] + b), with learned frequencies f, for track n.

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        frequencies: number of frequencies f.
        hidden_dim: rows of W.
        longest_period: bound on the period of the slowest f at the start, in positions.
        initial_std: standard deviation of the vectors at the start.
    """

    kind = "fourier"
    Options = FourierOptions
    injections = ("bias", "additive")
    shared_parameters = ("frequencies", "hidden.")

    def __init__(
        self,
        tracks: int,
        dim: int,
        *,
        frequencies: int = 64,
        hidden_dim: int = 32,
        longest_period: float = 1000.0,
        initial_std: float = 0.0,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        periods = spread_periods(frequencies, SHORTEST_PERIOD, longest_period)
        self.frequencies = nn.Parameter(2 * math.pi / periods)
        self.hidden = Linear(2 * frequencies, hidden_dim)
        std = initial_std / math.sqrt(HIDDEN_POWER * hidden_dim)
        self.output = nn.Parameter(std * torch.randn(tracks, hidden_dim, dim))

    @classmethod
    def from_options(cls, options: FourierOptions, wanted: Wanted) -> "FourierEncoder":
        return cls(
            wanted.tracks,
            wanted.dim,
            frequencies=options.fourier_frequencies,
            hidden_dim=options.fourier_hidden_dim,
            longest_period=options.fourier_longest_period,
            initial_std=wanted.initial_std,
            name=wanted.name,
        )

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        output = self.output.to(self.dtype)
        # Angles are in float64, since far positions have made many turns.
        column = positions.to(output.device, non_blocking=True).unsqueeze(1)
        angles = column * self.frequencies.double()
        features = torch.cat([angles.cos(), angles.sin()], dim=1).to(output)
        hidden = nn.functional.gelu(self.hidden(features))
        return hidden @ output  # (positions, hidden) by (tracks, hidden, dim)

    def at(self, positions: Tensor) -> Tensor:
        return self.computed(positions.to(torch.float64))

    def track_parameters(self) -> List[str]:
        return ["output"]

    def output_parameters(self) -> List[str]:
        return ["output"]
