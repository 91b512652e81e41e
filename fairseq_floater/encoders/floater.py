"""FLOATER: trajectories of a learned differential equation (Liu et al. 2020)."""

from typing import List, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.ode.grid import StepsPerPosition, parse_steps_per_position
from fairseq_floater.ode.solver import solve


class FloaterEncoder(PositionEncoder):
    """p(t) with dp/dt = dynamics(t, p) and p(0) learned; position i stands at time i * delta.

    All tracks share the dynamics and differ in their initial values (paper, section 3.1), so
    they are one batched solve.

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        dynamics: the right-hand side, usually ``MLPDynamics``; may be shared between encoders.
        delta: time between two positions, > 0.
        initial_std: standard deviation of the initial values; 0 starts all of them at 0.
        solver, steps_per_position, backend, adjoint: see ``fairseq_floater.ode.solver.solve``.
    """

    sequential = True

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: nn.Module,
        *,
        delta: float = 0.1,
        initial_std: float = 0.0,
        solver: str = "rk4",
        steps_per_position: StepsPerPosition = 1,
        backend: Optional[str] = None,
        adjoint: bool = False,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        if not delta > 0:
            raise UserError(f"position delta must be > 0, got {delta}")
        self.dynamics = dynamics
        self.initial = nn.Parameter(initial_std * torch.randn(tracks, dim))
        self.delta = float(delta)
        self.solver = solver
        self.steps_per_position = parse_steps_per_position(steps_per_position)
        self.backend = backend
        self.adjoint = adjoint
        # The table is continued from a node of the solver's grid.
        stride = self.steps_per_position.denominator
        self.growth = -(-PositionEncoder.growth // stride) * stride

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        table = solve(
            self.dynamics,
            (self.initial if start is None else start).to(self.dtype),
            positions * self.delta,
            solver=self.solver,
            steps_per_position=self.steps_per_position,
            backend=self.backend,
            adjoint=self.adjoint,
        )
        if not bool(torch.isfinite(table[:, -1]).all()):
            self._raise_diverged(table, positions)
        return table

    def at(self, positions: Tensor, unchanged: bool = False) -> Tensor:
        """Between whole positions, the cubic that has the states and slopes of both (Hermite)."""
        before = positions.floor().long()
        states = self.first(int(before[-1]) + 2, unchanged)
        whole = torch.stack([before, before + 1]).to(states.device)
        ends = states[:, whole]  # (tracks, 2, positions, dim)
        learning = torch.is_grad_enabled() and not self.resting
        with torch.autocast(states.device.type, enabled=False), torch.set_grad_enabled(learning):
            slopes = self.dynamics((whole * self.delta).unsqueeze(-1), ends) * self.delta
        x = (positions.to("cpu", torch.float64) - before.cpu()).to(states).unsqueeze(-1)
        return (
            (1 + 2 * x) * (1 - x) ** 2 * ends[:, 0]
            + x * (1 - x) ** 2 * slopes[:, 0]
            + x**2 * (3 - 2 * x) * ends[:, 1]
            + x**2 * (x - 1) * slopes[:, 1]
        )

    def output_parameters(self) -> List[str]:
        h_at_0 = self.dynamics(self.anchor.new_ones(()), torch.zeros_like(self.initial))
        return ["initial", "dynamics.fc2."] if bool(h_at_0.any()) else ["initial"]

    def _raise_diverged(self, table: Tensor, positions: Tensor) -> None:
        finite = torch.isfinite(table).all(dim=2).all(dim=0)
        first = positions[int((~finite).nonzero()[0])].item()
        damped = getattr(self.dynamics, "damping", 0.0) > 0.0
        raise UserError(
            f"{self.name}: the position encodings are not finite from position {first:g} on: "
            f"lower --dynamics-init-scale, --position-delta or the learning rate, "
            f"{'' if damped else 'raise --dynamics-damping, '}or use --dynamics-activation tanh"
        )

    def extra_repr(self) -> str:
        return (
            f"tracks={self.tracks}, dim={self.dim}, delta={self.delta}, solver={self.solver}, "
            f"steps_per_position={self.steps_per_position}"
        )
