"""From options to a position encoder."""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.encoders.floater import FloaterEncoder
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.rnn import RecurrentCell, RNNEncoder
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.options import SHORTEST_PERIOD, PositionOptions


def build_position_encoder(
    options: PositionOptions,
    tracks: int,
    dim: int,
    *,
    name: str = "model",
    offset: int = 0,
    max_positions: int = 1024,
    seed: Optional[int] = None,
) -> Optional[PositionEncoder]:
    """The encoder that ``options`` describe; None for ``none``.

    Args:
        options: validated options.
        tracks: number of trajectories.
        dim: size of each vector.
        name: what the encoder belongs to, for error messages.
        offset: the sinusoidal number of the first position.
        max_positions: length of a learned table.
        seed: draw the initial values from a generator of their own, so that the rest of a model
            starts from the same weights whatever its position encoder.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return _BUILDERS[options.position_encoder](
            options, tracks, dim, name=name, offset=offset, max_positions=max_positions
        )


def build_dynamics(options: PositionOptions, dim: int) -> nn.Module:
    """h of FLOATER, from options alone."""
    frequencies = None
    if options.dynamics_init == "oscillators":
        periods = spread_periods(dim // 2, SHORTEST_PERIOD, options.dynamics_longest_period)
        frequencies = 2 * math.pi / (periods * options.position_delta)
    return MLPDynamics(
        dim,
        options.dynamics_hidden_dim,
        options.dynamics_activation,
        damping=options.dynamics_damping,
        init_scale=options.dynamics_init_scale,
        frequencies=frequencies,
    )


def spread_periods(count: int, shortest: float, longest: float) -> Tensor:
    """(count,) periods, evenly spaced in the logarithm, in an order that mixes long and short.

    Attention heads share out neighbouring features, and each should have periods of all lengths:
    so the order is van der Corput's, whose every stretch is spread over the whole range.
    """
    places = torch.tensor([int(f"{k:b}"[::-1], 2) / 2 ** len(f"{k:b}") for k in range(count)])
    return shortest * (longest / shortest) ** places


def _initial_std(options: PositionOptions, dim: int) -> float:
    """Biases start at the base model; vectors that are a block's only positions must not."""
    return 0.0 if options.injection == "bias" else dim**-0.5


def _floater(options, tracks, dim, *, name, **_) -> PositionEncoder:
    return FloaterEncoder(
        tracks,
        dim,
        build_dynamics(options, dim),
        delta=options.position_delta,
        initial_std=_initial_std(options, dim),
        solver=options.ode_solver,
        steps_per_position=options.ode_steps_per_position,
        backend=options.ode_backend,
        adjoint=options.ode_adjoint,
        name=name,
    )


def _sinusoidal(options, tracks, dim, *, name, offset, **_) -> PositionEncoder:
    at_depth = options.position_blocks == "all"
    return SinusoidalEncoder(tracks, dim, offset=offset, block_term=at_depth, name=name)


def _learned(options, tracks, dim, *, name, max_positions, **_) -> PositionEncoder:
    std = _initial_std(options, dim)
    return LearnedEncoder(tracks, dim, max_positions, initial_std=std, name=name)


def _rnn(options, tracks, dim, *, name, **_) -> PositionEncoder:
    cell = RecurrentCell(dim, options.rnn_layers, options.rnn_input)
    return RNNEncoder(tracks, dim, cell, initial_std=_initial_std(options, dim), name=name)


_BUILDERS = {
    "floater": _floater,
    "sinusoidal": _sinusoidal,
    "learned": _learned,
    "rnn": _rnn,
    "none": lambda *args, **kwargs: None,
}
