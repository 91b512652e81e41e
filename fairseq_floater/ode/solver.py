"""Solving the position ODE: one function, ``solve``, over two backends.

``native`` is ours: fixed steps, all tracks in one batch, exact gradient, for ``MLPDynamics``.
``torchdiffeq`` takes any dynamics and any of that library's solvers, and is the reference.
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import Dynamics, MLPDynamics
from fairseq_floater.ode.fixed_step import integrate
from fairseq_floater.ode.grid import StepGrid, StepsPerPosition
from fairseq_floater.ode.reference import integrate as integrate_by_torchdiffeq
from fairseq_floater.ode.runge_kutta import TABLEAUS

BACKENDS = ("native", "torchdiffeq")


def solve(
    dynamics: Dynamics,
    initial: Tensor,
    times: Tensor,
    *,
    solver: str = "rk4",
    steps_per_position: StepsPerPosition = 1,
    backend: Optional[str] = None,
    adjoint: bool = False,
) -> Tensor:
    """States of dp/dt = dynamics(t, p) at ``times``, from ``initial`` at ``times[0]``.

    Args:
        dynamics: ``MLPDynamics``, or any callable (t scalar, p (tracks, dim)) -> (tracks, dim).
        initial: (tracks, dim) states at the first time.
        times: (positions,) increasing, in units of time; need not be evenly spaced.
        solver: ``euler``, ``midpoint`` or ``rk4``; with torchdiffeq any of ``reference.SOLVERS``.
        steps_per_position: steps between two times, a whole number, or 1/m for one step over m
            of them (cubic Hermite between). Adaptive solvers choose their own.
        backend: ``native`` or ``torchdiffeq``; by default native if that can solve it.
        adjoint: torchdiffeq's continuous adjoint in place of backpropagation.

    Returns:
        (tracks, positions, dim), in float32, or float64 if ``initial`` is, regardless of autocast
        or reduced precision around the call: in half precision the time grid would collapse.

    Raises:
        UserError: for shapes, values or combinations that cannot be solved.
    """
    backend = backend or _default_backend(dynamics, solver, adjoint)
    _validate(dynamics, initial, times, solver, backend, adjoint)
    grid = StepGrid.build(times, steps_per_position)
    with torch.autocast(initial.device.type, enabled=False):
        initial = initial if initial.dtype == torch.float64 else initial.float()
        if backend == "native" and isinstance(dynamics, MLPDynamics):  # native implies it
            return integrate(dynamics, initial, grid, TABLEAUS[solver])
        return integrate_by_torchdiffeq(dynamics, initial, grid, solver, adjoint)


def _default_backend(dynamics: Dynamics, solver: str, adjoint: bool) -> str:
    native = isinstance(dynamics, MLPDynamics) and solver in TABLEAUS and not adjoint
    return "native" if native else "torchdiffeq"


def _validate(
    dynamics: Dynamics, initial: Tensor, times: Tensor, solver: str, backend: str, adjoint: bool
) -> None:
    if backend not in BACKENDS:
        raise UserError(f"unknown ode backend {backend!r}: choose from {', '.join(BACKENDS)}")
    if initial.dim() != 2 or not initial.is_floating_point():
        raise UserError(f"initial must be floating (tracks, dim), got {tuple(initial.shape)}")
    if times.dim() != 1 or times.numel() < 1:
        raise UserError(f"times must be (positions,) and not empty, got {tuple(times.shape)}")
    if not bool((times.diff() > 0).all()) or not bool(torch.isfinite(times).all()):
        raise UserError("times must be finite and strictly increasing")
    if backend == "native":
        if not isinstance(dynamics, MLPDynamics):
            raise UserError(
                f"the native ode backend solves MLPDynamics only, got {type(dynamics).__name__}: "
                "use backend torchdiffeq"
            )
        if solver not in TABLEAUS:
            raise UserError(
                f"the native ode backend has no solver {solver!r}: choose from "
                f"{', '.join(TABLEAUS)}, or use backend torchdiffeq"
            )
        if adjoint:
            raise UserError(
                "the adjoint is torchdiffeq's: use backend torchdiffeq, or leave it out (the "
                "native backend's gradient is exact)"
            )
    if isinstance(dynamics, MLPDynamics) and initial.size(1) != dynamics.dim:
        raise UserError(
            f"initial has dim {initial.size(1)}, but the dynamics have dim {dynamics.dim}"
        )
