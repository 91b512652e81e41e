"""The discrete counterpart of FLOATER: a recurrent cell over positions (paper, table 6)."""

from dataclasses import dataclass
from typing import Any, List, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.flags import Range, SharingOptions, flag
from fairseq_floater.encoders.sinusoidal import sinusoids
from fairseq_floater.errors import UserError
from fairseq_floater.ode.layers import Linear

INPUTS = ("scalar", "vector")


@dataclass
class RNNOptions(SharingOptions):
    """The recurrent cell."""

    rnn_layers: int = flag(
        1,
        "linear layers of the recurrent cell (rnn)",
        range=Range("1 or 2", lambda layers: layers in (1, 2)),
    )
    rnn_input: str = flag(
        "scalar",
        "input of the recurrent cell: the position, or its sinusoids (rnn)",
        choices=INPUTS,
    )


class RecurrentCell(nn.Module):
    """p_{i+1} = RNN(z_i, p_i): linear layers, each fed the state and z_i and followed by tanh.

    At dim 512, a layer has 263,168 parameters for a scalar z_i, and 524,800 for a vector.

    Args:
        dim: size of the state.
        layers: 1 or 2.
        input: ``scalar``, the position i itself, or ``vector``, its sinusoids.
    """

    layers: Any  # an nn.ModuleList of Linear: its type does not say what it holds

    def __init__(self, dim: int, layers: int = 1, input: str = "scalar"):
        super().__init__()
        if layers not in (1, 2):
            raise UserError(f"rnn layers must be 1 or 2, got {layers}")
        if input not in INPUTS:
            raise UserError(f"unknown rnn input {input!r}: choose from {', '.join(INPUTS)}")
        self.dim = dim
        self.input = input
        input_dim = 1 if input == "scalar" else dim
        self.layers = nn.ModuleList([Linear(dim + input_dim, dim) for _ in range(layers)])
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, start: Tensor, positions: Tensor) -> Tensor:
        """Return states (tracks, positions, dim), of which ``start`` (tracks, dim) is the first."""
        inputs = (
            positions.unsqueeze(1) if self.input == "scalar" else sinusoids(positions, self.dim)
        )
        inputs = inputs.to(start, non_blocking=True)
        # The part of each layer that z_i drives does not depend on the state, so it is one product.
        weights = [layer.weight.to(start) for layer in self.layers]
        driven = [
            inputs @ weight[:, self.dim :].t() + layer.bias.to(start)
            for weight, layer in zip(weights, self.layers)
        ]
        recurrent = [weight[:, : self.dim].t() for weight in weights]
        states = [start]
        for i in range(len(positions) - 1):
            state = states[-1]
            for drive, weight in zip(driven, recurrent):
                state = torch.tanh(torch.addmm(drive[i], state, weight))
            states.append(state)
        return torch.stack(states, dim=1)


class RNNEncoder(PositionEncoder):
    """Trajectories of a shared ``RecurrentCell``, one learned initial value per track.

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        dynamics: the cell; may be shared between encoders.
        initial_std: standard deviation of the initial values.
    """

    kind = "rnn"
    Options = RNNOptions
    injections = ("additive", "bias")
    sequential = True
    shared_parameters = ("dynamics.",)

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: RecurrentCell,
        *,
        initial_std: float = 0.0,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        self.dynamics = dynamics
        self.initial = nn.Parameter(initial_std * torch.randn(tracks, dim))

    @classmethod
    def from_options(cls, options: RNNOptions, wanted: Wanted) -> "RNNEncoder":
        cell = RecurrentCell(wanted.dim, options.rnn_layers, options.rnn_input)
        std = wanted.initial_std
        return cls(wanted.tracks, wanted.dim, cell, initial_std=std, name=wanted.name)

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        start = self.initial if start is None else start
        return self.dynamics(start.to(self.dtype), positions)

    def track_parameters(self) -> List[str]:
        return ["initial"]

    def output_parameters(self) -> List[str]:
        return ["initial", f"dynamics.layers.{len(self.dynamics.layers) - 1}."]
