"""FLOATER in the forms of its peers: a small trajectory bends them.

    table(t) = peer(t) + R p(t),   dp/dt = h(t, p),   p(0) = 0 at the start

So a new model equals its peer, to rounding. R is learned and starts at random, so that at the first
update gradients reach what makes p depart from 0: its initial values, and the biases of h if it has
any. p is narrow, so this takes few parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.alibi import alibi_slopes
from fairseq_floater.encoders.base import Wanted
from fairseq_floater.encoders.dynamics import build_dynamics
from fairseq_floater.encoders.floater import FloaterEncoder, FloaterOptions
from fairseq_floater.encoders.rotary import rotary_angles, rotated_pairs


class Departure(FloaterEncoder):
    """Tables (tracks, positions, outputs) that depart from a start by a trajectory.

    All inherited parts are about p: ``dim`` is its width, and what ``kept`` keeps and a checkpoint
    stores are its states.

    Args:
        tracks, dim, dynamics: of p, see ``FloaterEncoder``.
        outputs: size of each row of the tables.
        settings: see ``FloaterEncoder``.
    """

    def __init__(
        self, tracks: int, dim: int, dynamics: nn.Module, *, outputs: int, **settings: Any
    ):
        super().__init__(tracks, dim, dynamics, **settings)
        self.readout = nn.Parameter(torch.randn(outputs, dim) / dim**0.5)
        # The start is the peer: initial values are 0, and so is h's last layer if h(t, 0) is not 0.
        self.load_state_dict(self._vanishing_state())

    @property
    def row_size(self) -> int:
        return self.readout.size(0)

    def peer(self, positions: Tensor) -> Tensor:
        """Return the table that it departs from, float64; it broadcasts to (positions, outputs)."""
        raise NotImplementedError

    def first(self, length: int) -> Tensor:
        return self._departed(self.states(length), self._range(0, length))

    def last(self, length: int) -> Tensor:
        return self._departed(self.states(length)[:, -1:], self._range(length - 1, length))

    def at(self, positions: Tensor) -> Tensor:
        return self._departed(super().at(positions), positions)

    def _departed(self, states: Tensor, positions: Tensor) -> Tensor:
        with self.computing():
            peer = self.peer(positions).to(states, non_blocking=True)
            return peer + states @ self.readout.to(states).t()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, outputs={self.readout.size(0)}"


class FloaterRotation(Departure):
    """Angles of queries and keys: rotary's at the start; each block and head then bends time.

    Tables are (tracks, positions, heads x pairs), in radians.

    Args:
        heads, pairs, base: see ``rotary.RotaryEncoder``.
    """

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: nn.Module,
        *,
        heads: int,
        pairs: int,
        base: float,
        **settings: Any,
    ):
        super().__init__(tracks, dim, dynamics, outputs=heads * pairs, **settings)
        self.heads, self.pairs, self.base = heads, pairs, base

    @classmethod
    def from_options(cls, options: FloaterOptions, wanted: Wanted) -> "FloaterRotation":
        return cls(
            wanted.tracks,
            options.position_state_dim,
            build_dynamics(options, options.position_state_dim),
            heads=wanted.heads,
            pairs=rotated_pairs(options, wanted.head_dim),
            base=options.rotary_base,
            **cls.settings(options, wanted.name),
        )

    def peer(self, positions: Tensor) -> Tensor:
        return rotary_angles(positions, self.pairs, self.base).repeat(1, self.heads)


class FloaterScores(Departure):
    """Scores by distance for each direction and head: ALiBi's at the start, or 0.

    Tables are (blocks x directions, distances, heads); time runs outward from distance 0.

    Args:
        heads: number of attention heads.
        slopes: whether it starts as symmetric ALiBi.
    """

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: nn.Module,
        *,
        heads: int,
        slopes: bool,
        **settings: Any,
    ):
        super().__init__(tracks, dim, dynamics, outputs=heads, **settings)
        self.slopes = alibi_slopes(heads) if slopes else torch.zeros(heads, dtype=torch.float64)

    @classmethod
    def from_options(cls, options: FloaterOptions, wanted: Wanted) -> "FloaterScores":
        return cls(
            wanted.tracks,
            options.position_state_dim,
            build_dynamics(options, options.position_state_dim),
            heads=wanted.heads,
            slopes=options.scores_start == "alibi",
            **cls.settings(options, wanted.name),
        )

    def peer(self, positions: Tensor) -> Tensor:
        return -positions.to("cpu", torch.float64).unsqueeze(1) * self.slopes
