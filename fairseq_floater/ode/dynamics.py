"""The learned right-hand side h of FLOATER's differential equation (paper, equation 3)."""

from typing import Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.errors import UserError
from fairseq_floater.ode.layers import Linear
from fairseq_floater.ode.runge_kutta import ACTIVATIONS

#: gives dp/dt, of the shape of the states: at times, a scalar or (..., 1), and states
#: (tracks, ..., dim)
Dynamics = Callable[[Tensor, Tensor], Tensor]


class MLPDynamics(nn.Module):
    """dp/dt = h(t, p) - damping * p, where h is a two-layer perceptron that sees the time twice.

    h(t, p) = W2 [act(W1 [p; t] + b1); t] + b2 (paper, section 3.1), with 526,336 parameters at
    ``dim`` 512.

    Args:
        dim: size of the state p.
        hidden_dim: size of the hidden layer; ``dim`` when not given.
        activation: one of ``runge_kutta.ACTIVATIONS``.
        damping: lambda >= 0, per unit of time; 0 is the paper's model.
        init_scale: factor on the Xavier-uniform initial weights; 0 makes h vanish.
        frequencies: (pairs,) in radians per unit of time, for an h that starts as
            ``oscillators`` of these frequencies instead; ``init_scale`` must then be > 0.

    Raises:
        UserError: for a value outside its range.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: Optional[int] = None,
        activation: str = "tanh",
        *,
        damping: float = 0.0,
        init_scale: float = 1.0,
        frequencies: Optional[Tensor] = None,
    ):
        super().__init__()
        hidden_dim = dim if hidden_dim is None else hidden_dim
        if dim < 1 or hidden_dim < 1:
            raise UserError(f"dynamics need dim and hidden_dim >= 1, got {dim} and {hidden_dim}")
        if activation not in ACTIVATIONS:
            known = ", ".join(sorted(ACTIVATIONS))
            raise UserError(f"unknown dynamics activation {activation!r}: choose from {known}")
        if not damping >= 0.0:
            raise UserError(f"dynamics damping must be >= 0, got {damping}")
        self.dim = dim
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.damping = float(damping)
        self.init_scale = init_scale
        self.fc1 = Linear(dim + 1, hidden_dim)
        self.fc2 = Linear(hidden_dim + 1, dim)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight, gain=init_scale)
            nn.init.zeros_(layer.bias)
        if frequencies is not None:
            self._start_as_oscillators(frequencies)

    def _start_as_oscillators(self, frequencies: Tensor) -> None:
        """Set h(t, p) = S act(s p) / s: pair k of features goes round at frequency k.

        S is skew-symmetric and s is the initial scale: the smaller it is, the closer h is to
        linear. If act is odd and increasing, as tanh is, no trajectory grows or dies out, however
        long: the sum of F(s p_i), where F' = act, is conserved, since its derivative is
        s act(s p)^T S act(s p) / s = 0. Then p(t) is, to first order, p(0) rotated pair by pair,
        so that gradients of the initial values alone reach every function of the position that
        sinusoids of these frequencies can make, and p = 0 stays 0.
        """
        if not self.init_scale > 0:
            raise UserError(f"oscillators need init_scale > 0, got {self.init_scale}")
        pairs = min(self.dim, self.hidden_dim) // 2
        sine = 2 * torch.arange(pairs)
        rates = (frequencies[:pairs] / self.init_scale).to(self.fc2.weight)
        with torch.no_grad():
            self.fc1.weight[: 2 * pairs] = self.init_scale * torch.eye(2 * pairs, self.dim + 1)
            self.fc1.weight[:, self.dim] = 0.0
            self.fc2.weight.zero_()
            self.fc2.weight[sine, sine + 1] = rates
            self.fc2.weight[sine + 1, sine] = -rates

    def forward(self, t: Tensor, p: Tensor) -> Tensor:
        """Return dp/dt, of the shape of ``p`` (..., dim), at times ``t``, a scalar or (..., 1)."""
        time = t.to(p).expand(*p.shape[:-1], 1)
        activation = ACTIVATIONS[self.activation].function
        hidden = activation(self.fc1(torch.cat([p, time], dim=-1)))
        slope = self.fc2(torch.cat([hidden, time], dim=-1))
        return slope - self.damping * p if self.damping else slope

    def extra_repr(self) -> str:
        return (
            f"dim={self.dim}, hidden_dim={self.hidden_dim}, activation={self.activation}, "
            f"damping={self.damping}"
        )
