"""The position encoders in a checkpoint, their parameters and their solver's errors."""

from pathlib import Path
from typing import Dict, Optional, Set

import torch

from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.encoders import FloaterEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.inspection.tables import Part, parts_of
from fairseq_floater.models.positioned import PositionedModel
from fairseq_floater.progress import Progress

#: number of positions that are solved at a time
PIECE = 64


def load_part(checkpoint: Path, name: Optional[str] = None) -> Part:
    """Return the positions of one stack of a checkpoint.

    Args:
        checkpoint: the checkpoint to read.
        name: see ``Part``; by default the first.

    Raises:
        UserError: if the file has no such positions, or is not a checkpoint.
    """
    _, config, model = load_model(checkpoint)
    parts = parts_of(model)
    if not parts:
        raise UserError(
            f"{checkpoint} has --position-encoder {config.position_encoder} but no vectors of it: "
            "there is nothing to show"
        )
    name = name or next(iter(parts))
    if name not in parts:
        raise UserError(f"{checkpoint} has no positions in {name}: choose from {', '.join(parts)}")
    return parts[name]


def count_parameters(model: PositionedModel) -> Dict[str, int]:
    """Count the parameters that the position encoding adds, by kind, over all stacks.

    ``dynamics`` are those of h (or the recurrent cell, or a learned table), ``initial values`` the
    vectors at position 0, and ``base`` a learned base encoding kept by the bias injection. What
    stacks share counts once.
    """
    counts = {"dynamics": 0, "initial values": 0, "base": 0}
    counted: Set[int] = set()
    for stack in model.stacks().values():
        for encoder in stack.encoders():
            is_base = encoder is not stack.position_encoder
            for name, weight in encoder.named_parameters():
                inner = "initial values" if name.startswith("initial") else "dynamics"
                counts["base" if is_base else inner] += weight.numel() * (id(weight) not in counted)
                counted.add(id(weight))
    return counts


def solver_errors(model: PositionedModel, length: int = 64) -> Dict[str, float]:
    """Return how far the encodings are from the exact solution of their equation, by stack.

    This is the root mean square of the difference from a solution with 20 steps per position in
    float64, relative to that of the solution, over the first ``length`` positions. Training with
    large learning rates makes the dynamics steep. A coarse grid of steps then no longer follows the
    equation, although it was learned with exact gradients and is the same in training and use.
    Empty without an equation.
    """
    encoders = {name: stack.position_encoder for name, stack in model.stacks().items()}
    return {
        name: solver_error(encoder, length)
        for name, encoder in encoders.items()
        if isinstance(encoder, FloaterEncoder)
    }


def solver_error(encoder: FloaterEncoder, length: int) -> float:
    """Return ``solver_errors`` of one encoder, in float32, piece by piece to bound its memory."""
    positions = torch.arange(length, dtype=torch.float64)
    progress = Progress(f"{encoder.name}: exact position", length)
    with torch.no_grad():
        used, state = encoder.states(length), encoder.starts.double()
        wrong, size = torch.zeros(()).double(), torch.zeros(()).double()
        for first in range(0, max(1, length - 1), PIECE):
            progress.reached(first)
            # Include the last position of the previous piece, at which this one starts.
            piece = slice(first, first + PIECE + 1)
            exact = encoder.exact(positions[piece], state)
            counted = slice(int(first > 0), None)
            wrong += (used[:, piece].double() - exact)[:, counted].square().sum()
            size += exact[:, counted].square().sum()
            state = exact[:, -1]
    scale = (size / used.numel()).sqrt().clamp(min=1e-12)
    return float((wrong / used.numel()).sqrt() / scale)
