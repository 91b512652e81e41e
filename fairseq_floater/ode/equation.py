"""What an encoder asks of its equation, whether a solver follows it or a formula solves it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Optional, Protocol

from torch import Tensor

from fairseq_floater.ode.dynamics import Dynamics
from fairseq_floater.ode.solver import solve

#: steps per position, of a solver or of a quadrature, for results that count as exact
FINE = 20


class Equation(Protocol):
    """dp/dt = h(t, p) from states at time 0, ``initial`` (tracks, dim).

    Times are float64, in units of time; states are (tracks, positions, dim), of the dtype of
    ``initial``.

    Attributes:
        bounded: whether no trajectory can diverge.
        closed: whether states at one time do not depend on which other times are asked for.
    """

    bounded: ClassVar[bool]
    closed: ClassVar[bool]

    def flow(self, initial: Tensor, times: Tensor, start: Optional[Tensor] = None) -> Tensor:
        """Return the states at ``times``, (positions,) increasing, >= 0.

        ``start`` (tracks, dim) are the states at ``times[0]``, if that is not 0 and they are known
        from an earlier call.
        """

    def exact(self, initial: Tensor, times: Tensor, start: Tensor) -> Tensor:
        """Like ``flow``, but with ``FINE`` steps per position."""

    def slopes(self, initial: Tensor, times: Tensor, states: Tensor) -> Tensor:
        """Return dp/dt (tracks, ..., dim) at ``times`` (...) and ``states`` (tracks, ..., dim)."""

    def growth(self, least: int) -> int:
        """Return by how many positions, at least ``least``, a kept table grows at a time."""


@dataclass(frozen=True)
class Stepwise:
    """An ``Equation`` that a solver follows from position to position.

    Args:
        h: dp/dt; for all others, see ``solver.solve``.
    """

    bounded: ClassVar[bool] = False
    closed: ClassVar[bool] = False

    h: Dynamics
    solver: str
    steps_per_position: Fraction
    backend: Optional[str]
    adjoint: bool

    def flow(self, initial: Tensor, times: Tensor, start: Optional[Tensor] = None) -> Tensor:
        return solve(
            self.h,
            initial if start is None else start.to(initial.dtype),
            times,
            solver=self.solver,
            steps_per_position=self.steps_per_position,
            backend=self.backend,
            adjoint=self.adjoint,
        )

    def exact(self, initial: Tensor, times: Tensor, start: Tensor) -> Tensor:
        return solve(self.h, start, times, steps_per_position=FINE)

    def slopes(self, initial: Tensor, times: Tensor, states: Tensor) -> Tensor:
        return self.h(times.unsqueeze(-1), states)

    def growth(self, least: int) -> int:
        """Round ``least`` up: a table is continued from a node of the solver's grid."""
        stride = self.steps_per_position.denominator
        return -(-least // stride) * stride
