"""Explicit Runge-Kutta schemes, and the one loop of a solve that cannot be parallelised.

A solve spends its time in a sequential loop: stage after stage, step after step. Everything
else (time terms, weight gradients, read-out) is a handful of large matrix products. This file
holds that loop and its exact adjoint for the *hidden* form of an MLP's dynamics,

    dz/dt = act(z) @ coupling + drive(t) - damping * z,

which ``fairseq_floater.ode.fixed_step`` derives. It takes one matrix product per stage, forward
and backward.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_floater.errors import UserError


@dataclass(frozen=True)
class Tableau:
    """Butcher tableau of an explicit method (Hairer, Norsett and Wanner 1993, section II.1)."""

    a: Tuple[Tuple[float, ...], ...]  # a[i][j]: weight of slope j in the state of stage i
    b: Tuple[float, ...]  # weights of the slopes in the step
    c: Tuple[float, ...]  # time of each stage, as a fraction of the step
    order: int

    @property
    def stages(self) -> int:
        return len(self.b)


EULER = Tableau(a=((),), b=(1.0,), c=(0.0,), order=1)
MIDPOINT = Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5), order=2)
# The 3/8 rule has a smaller error constant than the classical weights. It is also what torchdiffeq
# calls "rk4", so that both backends compute the same numbers.
RK4 = Tableau(
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    order=4,
)
TABLEAUS: Dict[str, Tableau] = {"euler": EULER, "midpoint": MIDPOINT, "rk4": RK4}


@dataclass(frozen=True)
class Activation:
    """A nonlinearity and its derivative, from the input ``z`` and the output ``y = f(z)``.

    ``from_output`` says that the derivative reads ``y`` alone, so that ``z`` need not be kept
    and may be any tensor.
    """

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor, Tensor], Tensor]
    from_output: bool


def _gelu_derivative(z: Tensor, y: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z * z) * 0.3989422804014327  # 1 / sqrt(2 pi)
    return 0.5 * (1.0 + torch.erf(z * 0.7071067811865476)) + z * density


def _silu_derivative(z: Tensor, y: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(z)
    return sigmoid + y * (1.0 - sigmoid)


ACTIVATIONS: Dict[str, Activation] = {
    "tanh": Activation(torch.tanh, lambda z, y: 1.0 - y * y, from_output=True),
    "relu": Activation(torch.relu, lambda z, y: (y > 0).to(y.dtype), from_output=True),
    "sin": Activation(torch.sin, lambda z, y: torch.cos(z), from_output=False),
    "gelu": Activation(torch.nn.functional.gelu, _gelu_derivative, from_output=False),
    "silu": Activation(torch.nn.functional.silu, _silu_derivative, from_output=False),
}


def _accumulate(total: Tensor, slopes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``total + sum(w * s)``, skipping zero weights; ``total`` itself is not changed."""
    for slope, weight in zip(slopes, weights):
        if weight != 0.0:
            total = torch.add(total, slope, alpha=weight)
    return total


class HiddenTrajectory(torch.autograd.Function):
    """All stage activations of a fixed-step solve of the hidden dynamics.

    Inputs of ``apply``: ``start`` (tracks, hidden), the state at the first node; ``coupling``
    (hidden, hidden); ``drive`` (steps, stages, hidden), the time term at every stage; then, not
    differentiated, ``step_sizes`` (one float per step, in time), ``damping``, ``tableau`` and
    ``activation``.

    Returns ``activations`` (steps, stages, tracks, hidden), that of stage 0 being the value at
    the step's first node, and ``last`` (tracks, hidden), the activation at the final node.

    The backward pass is the adjoint of the discrete scheme, not of the ODE: its result is the exact
    gradient of what the forward computed, up to rounding (Hairer, Lubich and Wanner 2006,
    section VI.6). The gradient of ``coupling`` is one product over all steps and stages.
    """

    @staticmethod
    def forward(
        ctx: Any,
        start: Tensor,
        coupling: Tensor,
        drive: Tensor,
        step_sizes: List[float],
        damping: float,
        tableau: Tableau,
        activation: Activation,
    ) -> Tuple[Tensor, Tensor]:
        steps, stages, hidden = drive.shape
        tracks = start.size(0)
        activations = start.new_empty(steps, stages, tracks, hidden)
        keep_inputs = not activation.from_output
        inputs = torch.empty_like(activations) if keep_inputs else start.new_empty(0)
        z = start
        for n, h in enumerate(step_sizes):
            slopes: List[Tensor] = []
            for i in range(stages):
                stage = _accumulate(z, slopes, [h * w for w in tableau.a[i]])
                if keep_inputs:
                    inputs[n, i] = stage
                y = activation.function(stage)
                activations[n, i] = y
                slope = torch.addmm(drive[n, i], y, coupling)
                slopes.append(slope.sub_(stage, alpha=damping) if damping else slope)
            z = _accumulate(z, slopes, [h * w for w in tableau.b])
        last = activation.function(z)
        ctx.save_for_backward(coupling, activations, inputs, z, last)
        ctx.scheme = (step_sizes, damping, tableau, activation)
        return activations, last

    @staticmethod
    def backward(
        ctx: Any, grad_activations: Tensor, grad_last: Tensor
    ) -> Tuple[Optional[Tensor], ...]:
        # As with create_graph. (torch's once_differentiable refuses backward(), not autograd.grad.)
        if torch.is_grad_enabled():
            raise UserError(
                "the native solver has no second derivatives: use --ode-backend torchdiffeq, or "
                "leave out create_graph"
            )
        coupling, activations, inputs, z, last = ctx.saved_tensors
        step_sizes, damping, tableau, activation = ctx.scheme
        stages, b, a = tableau.stages, tableau.b, tableau.a
        derivatives = activation.derivative(inputs, activations)
        transposed = coupling.t().contiguous()
        grad_slopes = torch.empty_like(activations)
        grad_z = grad_last * activation.derivative(z, last)
        for n in range(len(step_sizes) - 1, -1, -1):
            h = step_sizes[n]
            grad_stages: List[Tensor] = []  # of the stages after i
            for i in range(stages - 1, -1, -1):
                # A slope is used by the step itself (b) and by every later stage (column i of a).
                grad_slope = _accumulate(
                    grad_z * (h * b[i]), grad_stages, [h * a[j][i] for j in range(i + 1, stages)]
                )
                grad_slopes[n, i] = grad_slope
                grad_stage = torch.addmm(grad_activations[n, i], grad_slope, transposed)
                grad_stage.mul_(derivatives[n, i])
                if damping:
                    grad_stage.sub_(grad_slope, alpha=damping)
                grad_stages.insert(0, grad_stage)
            grad_z = _accumulate(grad_z, grad_stages, [1.0] * stages)
        hidden = coupling.size(0)
        grad_coupling = activations.reshape(-1, hidden).t() @ grad_slopes.reshape(-1, hidden)
        return grad_z, grad_coupling, grad_slopes.sum(dim=2), None, None, None, None
