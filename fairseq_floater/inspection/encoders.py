"""What a checkpoint holds of positions."""

from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch

from fairseq_floater.blocks.tracks import build_stack_encoder
from fairseq_floater.checkpoints.loading import load_options
from fairseq_floater.encoders import FloaterEncoder, PositionEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.ode.solver import solve

STACKS = ("encoder", "decoder")


def load_position_encoder(
    checkpoint: Path, stack: str = "encoder"
) -> Tuple[PositionEncoder, FloaterTransformerConfig]:
    """The position encoder of one stack, alone, from a ``floater_transformer`` checkpoint.

    Raises:
        UserError: if the checkpoint has none, or is no checkpoint.
    """
    state, config = load_options(checkpoint)
    encoder = position_encoder(state, config, stack)
    if encoder is None:
        raise UserError(f"{checkpoint} has --position-encoder none: there is nothing to show")
    return encoder, config


def count_position_parameters(checkpoint: Path) -> Dict[str, int]:
    """Parameters that the position encoding adds, by kind, both stacks together.

    ``dynamics`` are those of h (or the recurrent cell, or a learned table), ``initial values`` the
    vectors at position 0, ``base`` a learned base encoding kept by the bias injection.

    Raises:
        UserError: if the checkpoint is no checkpoint of a ``floater_transformer``.
    """
    return count_parameters(*load_options(checkpoint))


def count_parameters(state: dict, config: FloaterTransformerConfig) -> Dict[str, int]:
    """``count_position_parameters`` of a checkpoint that has been read."""
    counts = {"dynamics": 0, "initial values": 0, "base": 0}
    shared = config.share_dynamics == "all" and config.position_encoder in ("floater", "rnn")
    for stack in STACKS:
        encoder = position_encoder(state, config, stack)
        for name, weight in [] if encoder is None else encoder.named_parameters():
            inner = not name.startswith("initial")
            if not (inner and shared and stack == "decoder"):
                counts["dynamics" if inner else "initial values"] += weight.numel()
        table = state["model"].get(f"{stack}.embed_positions.encoder.table")
        counts["base"] += 0 if table is None else table.numel()
    return counts


def solver_errors(checkpoint: Path, positions: int = 64) -> Dict[str, float]:
    """How far the encodings are from the exact solution of their equation, by stack.

    Root mean square of the difference to 40 Runge-Kutta steps a position in float64, relative to
    that of the solution, over the first ``positions``. Training with large learning rates makes
    the dynamics steep, and then a coarse grid of steps, though learned with exact gradients and
    the same in training and use, no longer follows the equation. Empty without an equation.

    Raises:
        UserError: if the checkpoint is no checkpoint of a ``floater_transformer``.
    """
    state, config = load_options(checkpoint)
    errors = {}
    for stack in STACKS:
        encoder = position_encoder(state, config, stack)
        if isinstance(encoder, FloaterEncoder):
            errors[stack] = solver_error(encoder, positions)
    return errors


def solver_error(encoder: FloaterEncoder, positions: int) -> float:
    """``solver_errors`` of one encoder, in float32."""
    index = torch.arange(positions, dtype=torch.float64)
    with torch.no_grad():
        used = encoder(positions).double()
        start, times = encoder.initial.double(), index * encoder.delta
        exact = solve(encoder.dynamics, start, times, steps_per_position=40)
    scale = exact.square().mean().sqrt().clamp(min=1e-12)
    return float((used - exact).square().mean().sqrt() / scale)


def position_options(checkpoint: Path) -> Dict[str, Any]:
    """The options of a checkpoint that its position encoder reads; raises as ``load_options``."""
    return load_options(checkpoint)[1].in_force()


def position_encoder(
    state: dict, config: FloaterTransformerConfig, stack: str
) -> Optional[PositionEncoder]:
    """The position encoder of one stack of a checkpoint that has been read; None for ``none``."""
    encoder = build_stack_encoder(config.nested(), stack)
    if encoder is None:
        return None
    prefix = f"{stack}.positions."
    weights = {k[len(prefix) :]: v for k, v in state["model"].items() if k.startswith(prefix)}
    # Stored encodings say no more than the parameters beside them.
    encoder.load_state_dict({k: v for k, v in weights.items() if not k.startswith("baked")})
    return encoder.float().eval()
