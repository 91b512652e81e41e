"""The same solve by torchdiffeq, which is the reference and also solves any other dynamics."""

import torch
import torchdiffeq
from torch import Tensor, nn

from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import Dynamics
from fairseq_floater.ode.grid import StepGrid

FIXED_SOLVERS = ("euler", "midpoint", "heun2", "heun3", "rk4")
ADAPTIVE_SOLVERS = ("dopri8", "dopri5", "bosh3", "fehlberg2", "adaptive_heun")
SOLVERS = FIXED_SOLVERS + ADAPTIVE_SOLVERS

# Adaptive solvers choose their own steps, down to these tolerances.
RTOL, ATOL = 1e-6, 1e-8


def integrate(
    dynamics: Dynamics,
    initial: Tensor,
    grid: StepGrid,
    solver: str,
    adjoint: bool,
) -> Tensor:
    """Return states (tracks, positions, dim) at ``grid.times`` from ``initial`` (tracks, dim).

    Fixed-step solvers step on the grid's own nodes, with cubic interpolation between, as ours
    do. With ``adjoint`` the gradient is the continuous adjoint's (Chen et al. 2018), correct
    only up to the solver's error, and torchdiffeq restarts its solve at every position.
    """
    if solver not in SOLVERS:
        raise UserError(f"unknown torchdiffeq solver {solver!r}: choose from {', '.join(SOLVERS)}")
    if adjoint and not isinstance(dynamics, nn.Module):
        raise UserError("the adjoint needs dynamics that are an nn.Module")
    if grid.times.numel() == 1:
        return initial.unsqueeze(1)
    times = grid.times.to(initial)
    options = {}
    if solver in FIXED_SOLVERS:
        nodes = grid.nodes.to(initial)
        if grid.stride > 1:
            times = torch.unique(torch.cat([times, nodes]))  # the last step may reach further

        def steps(func: Dynamics, state: Tensor, asked: Tensor) -> Tensor:
            # The adjoint asks for stretches between two positions, backwards in time.
            inside = nodes[(nodes > asked.min()) & (nodes < asked.max())]
            inner = torch.cat([asked[[0, -1]], inside]).sort(descending=bool(asked[0] > asked[-1]))
            return inner.values

        options = {"grid_constructor": steps, "interp": "cubic"}
    method = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint
    states = method(
        dynamics, initial, times, rtol=RTOL, atol=ATOL, method=solver, options=options or None
    )
    return states[: grid.times.numel()].transpose(0, 1)
