"""Dynamics that are rotations: solved in closed form at all times at once, and always bounded."""

import math
from typing import ClassVar, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.errors import UserError
from fairseq_floater.ode.equation import FINE
from fairseq_floater.ode.grid import StepGrid


class LinearDynamics(nn.Module):
    """dp/dt = K p with a learned skew-symmetric K, whose flow p(t) = exp(K t) p(0) is a rotation.

    K = Q D Q^T: Q is orthogonal, the Cayley map (I + S)^-1 (I - S) of a learned skew-symmetric S,
    and D turns each pair of coordinates at a learned rate. Every skew-symmetric K is of this form.
    At the start Q = I, so that a trajectory is a row of sinusoids. Its initial values give the
    amplitude and phase of each pair of features (those of Vaswani et al. 2017 are among these).

    Bounded: K^T = -K gives d|p|^2/dt = 2 p^T K p = 0, so that |p(t)| = |p(0)| at every time, for
    any parameters. The flow is evaluated in closed form, so this holds for what is computed, to
    rounding, and no solver adds an error. The class is itself an ``Equation``.

    Args:
        dim: size of the state p, at least 2. If it is odd, one coordinate stands still.
        frequencies: (dim // 2,) rates at the start, in radians per unit of time.

    Raises:
        UserError: for a ``dim`` below 2.
    """

    bounded: ClassVar[bool] = True
    closed: ClassVar[bool] = True

    def __init__(self, dim: int, frequencies: Tensor):
        super().__init__()
        if dim < 2:
            raise UserError(
                "linear dynamics turn pairs of features: their width must be >= 2, got "
                f"{dim} (--position-state-dim is that of a rotation and of scores)"
            )
        self.dim = dim
        self.rates = nn.Parameter(frequencies.float().clone())
        self.skew = nn.Parameter(torch.zeros(dim, dim))

    def basis(self, like: Tensor) -> Tensor:
        """Q, (dim, dim), in the dtype of ``like``."""
        skew = (self.skew - self.skew.t()).to(like)
        identity = torch.eye(self.dim, dtype=like.dtype, device=like.device)
        # I + S is never singular, and checking for that would wait for the device.
        return torch.linalg.solve_ex(identity + skew, identity - skew).result

    def periods(self) -> Tensor:
        """Return (pairs,) in units of time, float64; infinite where a pair stands still."""
        return 2 * math.pi / self.rates.detach().double().abs()

    def flow(self, initial: Tensor, times: Tensor, start: Optional[Tensor] = None) -> Tensor:
        basis = self.basis(initial)
        return self.turned(initial @ basis, self.angles(times, initial)) @ basis.t()

    def exact(self, initial: Tensor, times: Tensor, start: Tensor) -> Tensor:
        finer = StepGrid.build(times, FINE).nodes
        return self.flow(initial.to(start), finer, start)[:, ::FINE]

    def growth(self, least: int) -> int:
        """Every ``flow`` computes the basis again, which takes as long as 64 positions do."""
        return 4 * least

    def angles(self, times: Tensor, like: Tensor) -> Tensor:
        """Return by how much each pair has turned at ``times``, (..., pairs), from 0 to 2 pi.

        This is computed in float64, since far positions have made many turns.
        """
        turned = (
            times.to(like.device, torch.float64, non_blocking=True).unsqueeze(-1)
            * self.rates.double()
        )
        return torch.remainder(turned, 2 * math.pi).to(like)

    def turned(self, coordinates: Tensor, angles: Tensor) -> Tensor:
        """Return ``coordinates`` (tracks, dim) turned by ``angles``: (tracks, positions, dim).

        ``angles`` are (positions, pairs), or (tracks, positions, pairs).
        """
        x, y, rest = self._pairs(coordinates.unsqueeze(1))
        cosine, sine = angles.cos(), angles.sin()
        turned = torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1).flatten(-2)
        return self._with(turned, rest)

    def slopes(self, initial: Tensor, times: Tensor, states: Tensor) -> Tensor:
        basis = self.basis(states)
        return self.slopes_at(states @ basis, self.rates.to(states)) @ basis.t()

    def slopes_at(self, coordinates: Tensor, rates: Tensor) -> Tensor:
        """The slopes of ``coordinates`` (..., dim) whose pairs turn at ``rates`` (..., pairs)."""
        x, y, rest = self._pairs(coordinates)
        slopes = torch.stack([-y * rates, x * rates], dim=-1).flatten(-2)
        return self._with(slopes, torch.zeros_like(rest))

    def _pairs(self, coordinates: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Return the two coordinates of each pair, (..., pairs), and the rest of an odd ``dim``."""
        pairs = self.rates.numel()
        x, y = coordinates[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
        return x, y, coordinates[..., 2 * pairs :]

    @staticmethod
    def _with(turned: Tensor, rest: Tensor) -> Tensor:
        if not rest.size(-1):
            return turned
        return torch.cat([turned, rest.expand(*turned.shape[:-1], 1)], dim=-1)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
