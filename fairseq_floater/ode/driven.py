"""Rotations whose speeds follow the state: nonlinear dynamics, solved at all times at once."""

from typing import ClassVar, Optional

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor, nn

from fairseq_floater.errors import UserError
from fairseq_floater.ode.layers import Linear
from fairseq_floater.ode.linear import LinearDynamics

NODES, WEIGHTS = (torch.from_numpy(part) for part in leggauss(4))  # from -1 to 1

#: where between two positions speeds are evaluated, from 0 to 1, and the weights; with three nodes,
#: the error of a trained model whose speeds change fast was above 1e-3
GAUSS = (NODES + 1) / 2, WEIGHTS / 2

#: factor on the Xavier weights of W2 at the start
START = 0.1


class DrivenDynamics(LinearDynamics):
    """Each pair of coordinates turns at a speed that a free rotation of the same state drives.

    With u the flow of ``LinearDynamics`` from the same initial values,

        du/dt = K u,   dp/dt = Q D(v(u)) Q^T p,   v(u) = rates (1 + tanh(W2 tanh(W1 Q^T u + b1)))

    where D(v) turns pair j at v_j: a perceptron bends the time of each pair, to at most twice its
    speed, and never backwards. At the start b1 = 0 and W2 is small, so that this is close to
    ``LinearDynamics``, and equal to it where p = 0.

    Bounded: Q D(v) Q^T is skew-symmetric for every v, so that d|p|^2/dt = 0 and |p(t)| = |p(0)| at
    every time, for any parameters. The same holds for each pair. The computation gives angles, and
    p(0) is turned by them: an error of the quadrature changes where a pair is on its circle, but
    never the circle.

    Parallel: the speeds depend on u alone, which is known in closed form, so the angles are their
    integral, a cumulative sum over positions (the Gauss-Legendre rule with four nodes between two
    positions, of eighth order).

    Args:
        dim, frequencies: see ``LinearDynamics``.
        hidden_dim: rows of W1; ``dim`` when not given.

    Raises:
        UserError: for ``dim`` below 2, or ``hidden_dim`` below 1.
    """

    closed: ClassVar[bool] = False  # the sum over positions depends on where they are

    def __init__(self, dim: int, frequencies: Tensor, hidden_dim: Optional[int] = None):
        super().__init__(dim, frequencies)
        hidden_dim = dim if hidden_dim is None else hidden_dim
        if hidden_dim < 1:
            raise UserError(f"driven dynamics need hidden_dim >= 1, got {hidden_dim}")
        self.hidden = Linear(dim, hidden_dim)
        self.drive = Linear(hidden_dim, self.rates.numel(), bias=False)
        nn.init.xavier_uniform_(self.hidden.weight)
        nn.init.zeros_(self.hidden.bias)
        nn.init.xavier_uniform_(self.drive.weight, gain=START)

    def flow(self, initial: Tensor, times: Tensor, start: Optional[Tensor] = None) -> Tensor:
        basis = self.basis(initial)
        free = initial @ basis  # (tracks, dim)
        nodes, weights = (part.to(times) for part in GAUSS)  # (4,)
        gaps = times.diff()  # (positions - 1,)
        inner = (times[:-1, None] + gaps[:, None] * nodes).flatten()
        excess = self._excess(self.turned(free, self.angles(inner, free)))
        mean = (
            excess.unflatten(1, (-1, len(nodes)))
            .mul(weights.to(free, non_blocking=True)[:, None])
            .sum(2)
        )
        ahead = (mean * gaps.to(free, non_blocking=True)[:, None]).double().cumsum(dim=1).to(free)
        # Angles count from the first time, where p is ``start``; without it, the first time is 0.
        angles = self.angles(times if start is None else times - times[0], free)
        angles = angles + nn.functional.pad(ahead, (0, 0, 1, 0))
        return self.turned(free if start is None else start.to(free) @ basis, angles) @ basis.t()

    def _excess(self, coordinates: Tensor) -> Tensor:
        """Return v(u) - rates, (..., pairs), for Q^T u, (..., dim)."""
        drive = self.drive(torch.tanh(self.hidden(coordinates)))
        return self.rates.to(coordinates) * torch.tanh(drive)

    def slopes(self, initial: Tensor, times: Tensor, states: Tensor) -> Tensor:
        basis = self.basis(states)
        free = initial.to(states) @ basis
        tracks, dim = free.shape
        turned = self.turned(free, self.angles(times.flatten(), free))
        excess = self._excess(turned).view(tracks, *times.shape, -1)
        return self.slopes_at(states @ basis, self.rates.to(states) + excess) @ basis.t()
