"""The fast solve: fixed-step Runge-Kutta for ``MLPDynamics``, exact in its gradient.

The trick is to step in the space of the hidden layer. With z = W1 [p; t] + b1 the dynamics

    dp/dt = W2 [act(z); t] + b2 - damping * p

become an equation in z alone,

    dz/dt = act(z) C + (drift + slope * t) - damping * z,      C = (W1p W2a)^T,

where W1p, W2a are the parts of W1, W2 that act on p and on act(z), and w1, w2 below the columns
that act on t. Runge-Kutta methods commute with affine maps, so stepping z gives, in exact
arithmetic, the very numbers that stepping p would. This takes one product per stage instead of
two; the states p are read off afterwards, in one product for all steps and tracks.

``HiddenTrajectory`` holds the sequential part and its hand-written backward; everything around it
is ordinary autograd over a few large operations.
"""

from typing import Any, List, Tuple

import torch
from torch import Tensor

from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.grid import StepGrid
from fairseq_floater.ode.hermite import hermite
from fairseq_floater.ode.runge_kutta import ACTIVATIONS, HiddenTrajectory, Tableau


def integrate(dynamics: MLPDynamics, initial: Tensor, grid: StepGrid, tableau: Tableau) -> Tensor:
    """States at ``grid.times``: (tracks, positions, dim), in the dtype of ``initial``.

    Args:
        dynamics: the right-hand side; parameters of any dtype, used in that of ``initial``.
        initial: (tracks, dim), the states at the first time.
    """
    dim, hidden = dynamics.dim, dynamics.hidden_dim
    weight1, bias1 = dynamics.fc1.weight.to(initial), dynamics.fc1.bias.to(initial)
    weight2, bias2 = dynamics.fc2.weight.to(initial), dynamics.fc2.bias.to(initial)
    state1, time1 = weight1[:, :dim], weight1[:, dim]  # (hidden, dim), (hidden,)
    state2, time2 = weight2[:, :hidden], weight2[:, hidden]  # (dim, hidden), (dim,)
    damping = dynamics.damping

    # The part that has no formula, in the space of the hidden layer: z, its coupling and its drive.
    sizes = grid.step_sizes  # (steps,), in time
    stage_times = grid.nodes[:-1, None] + sizes[:, None] * torch.tensor(
        tableau.c, dtype=sizes.dtype
    )
    slope = state1 @ time2 + damping * time1  # (hidden,)
    drift = state1 @ bias2 + time1 + damping * bias1  # (hidden,)
    activations, last = HiddenTrajectory.apply(  # (steps, stages, tracks, hidden), (tracks, hidden)
        initial @ state1.t() + bias1 + grid.nodes[0].to(initial, non_blocking=True) * time1,
        (state1 @ state2).t().contiguous(),
        drift + stage_times.to(initial, non_blocking=True)[..., None] * slope,
        sizes.tolist(),
        damping,
        tableau,
        ACTIVATIONS[dynamics.activation],
    )

    # What every step adds to p, in one product for all steps, and then the sums.
    decay, weights = _increment_weights(tableau, sizes, damping)  # (steps,), (steps, stages)
    weighted = torch.einsum("ns,nskh->nkh", weights.to(initial, non_blocking=True), activations)
    increments = weighted @ state2.t() + (  # (steps, tracks, dim)
        weights.sum(1).to(initial, non_blocking=True)[:, None] * bias2
        + (weights * stage_times).sum(1).to(initial, non_blocking=True)[:, None] * time2
    ).unsqueeze(1)
    states = LinearRecurrence.apply(initial, increments, decay.tolist())  # (nodes, tracks, dim)

    # Go from the nodes of the steps to the times that were asked for.
    if grid.stride > 1 and len(states) > 1:
        at_nodes = torch.cat([activations[:, 0], last.unsqueeze(0)])  # (nodes, tracks, hidden)
        slopes = (
            at_nodes @ state2.t()
            + (bias2 + grid.nodes.to(initial, non_blocking=True)[:, None] * time2)[:, None]
        )
        states = _between_nodes(states, slopes - damping * states, grid)
    else:
        states = states[:: grid.substeps]
    return states.transpose(0, 1)


def _increment_weights(tableau: Tableau, sizes: Tensor, damping: float) -> Tuple[Tensor, Tensor]:
    """Compute how a step of p follows from the undamped slopes u_i = W2 [act(z_i); t_i] + b2.

    The stage slopes k solve k = u - damping (p + h A k), so that the step is, exactly,
    p' = r p + h b^T (I + damping h A)^-1 u with r = 1 - damping h b^T (I + damping h A)^-1 1.

    Returns r (steps,) and the weights of u (steps, stages), float64.
    """
    stages = tableau.stages
    a = torch.zeros(stages, stages, dtype=torch.float64)
    for i, row in enumerate(tableau.a):
        a[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    b = torch.tensor(tableau.b, dtype=torch.float64)
    h = sizes[:, None, None]
    system = torch.eye(stages, dtype=torch.float64) + damping * h * a
    weights = sizes[:, None] * torch.linalg.solve(
        system.transpose(1, 2), b.expand(len(sizes), stages)
    )
    return 1.0 - damping * weights.sum(1), weights


class LinearRecurrence(torch.autograd.Function):
    """p_{n+1} = r_n p_n + v_n: all p_n, (steps + 1, tracks, dim), from p_0 and v; r are floats.

    Its backward pass is made of torch's own operations, so it has second derivatives.
    """

    @staticmethod
    def forward(ctx: Any, initial: Tensor, increments: Tensor, decay: List[float]) -> Tensor:
        ctx.decay = decay
        states = torch.cat([initial.unsqueeze(0), increments])
        for n, r in enumerate(decay):
            states[n + 1].add_(states[n], alpha=r)
        return states

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor) -> Tuple[Tensor, Tensor, None]:
        grads = grad_states.clone()
        for n in range(len(ctx.decay) - 1, -1, -1):
            grads[n].add_(grads[n + 1], alpha=ctx.decay[n])
        return grads[0], grads[1:], None


def _between_nodes(states: Tensor, slopes: Tensor, grid: StepGrid) -> Tensor:
    """Return (positions, tracks, dim) at ``grid.times``, from states and slopes at the nodes."""
    index = torch.arange(len(grid.times))
    step = (index // grid.stride).clamp(max=len(grid.nodes) - 2)  # (positions,)
    size = grid.step_sizes[step]  # (positions,), in time
    fraction = ((grid.times - grid.nodes[step]) / size).to(states, non_blocking=True)[:, None, None]
    size = size.to(states, non_blocking=True)[:, None, None]
    step = step.to(states.device, non_blocking=True)
    return hermite(
        fraction,
        states[step],
        slopes[step] * size,
        states[step + 1],
        slopes[step + 1] * size,
    )
