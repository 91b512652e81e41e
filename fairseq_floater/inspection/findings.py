"""Measure the encodings in a checkpoint, for ``floater inspect``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import torch
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.encoders import FloaterEncoder
from fairseq_floater.encoders.table_limits import require_room
from fairseq_floater.errors import UserError, naming
from fairseq_floater.inspection.encoders import count_parameters, solver_error
from fairseq_floater.inspection.spectrum import Spectrum, spread
from fairseq_floater.inspection.tables import REACHES, Part, axes_of, encoding_table, parts_of
from fairseq_floater.models.baked import baked_lengths
from fairseq_floater.models.config import ModelConfig
from fairseq_floater.ode.driven import DrivenDynamics
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.linear import LinearDynamics
from fairseq_floater.training.levers import LEVERS


@dataclass
class Equation:
    """FLOATER's equation in one stack.

    Attributes:
        hidden_dim: size of the hidden layer of h.
        solver_error: see ``inspection.encoders.solver_errors``; over the training length.
        state_norm: of ``MLPDynamics``, spectral norm of W1 without its column for the time.
        hidden_norm: of ``MLPDynamics``, spectral norm of W2 without its column for the time.
        stiffness: delta x both norms, which bounds the rate of the fastest motion, per position
            (where the activation's slope is at most 1). If this times the positions of a solver's
            step is far above 1, the solver need not follow the equation.
        shortest_period, longest_period: of rotations, in positions; for rotations that the state
            drives, without this drive.
    """

    hidden_dim: Optional[int]
    solver_error: float
    state_norm: Optional[float] = None
    hidden_norm: Optional[float] = None
    stiffness: Optional[float] = None
    shortest_period: Optional[float] = None
    longest_period: Optional[float] = None

    @classmethod
    def of(cls, encoder: FloaterEncoder, length: int) -> "Equation":
        dynamics, error = encoder.dynamics, solver_error(encoder, length)
        if isinstance(dynamics, LinearDynamics):
            periods = dynamics.periods().div(encoder.delta)
            hidden = dynamics.hidden.out_features if isinstance(dynamics, DrivenDynamics) else None
            shortest, longest = float(periods.min()), float(periods.max())
            return cls(hidden, error, shortest_period=shortest, longest_period=longest)
        assert isinstance(dynamics, MLPDynamics)  # there is no other kind
        state_norm, hidden_norm = (
            float(torch.linalg.matrix_norm(weight.detach().double(), 2))
            for weight in (
                dynamics.fc1.weight[:, : dynamics.dim],
                dynamics.fc2.weight[:, : dynamics.hidden_dim],
            )
        )
        stiffness = encoder.delta * state_norm * hidden_norm
        return cls(dynamics.hidden_dim, error, state_norm, hidden_norm, stiffness)


@dataclass
class StackFindings:
    """The encodings of one ``Part``: of a stack, or of the base positions beside its biases.

    Attributes:
        blocks: number of blocks that have encodings of their own.
        tracks: names of the tracks of one block.
        rows: what the rows of a table are: positions, or distances.
        dim: size of a vector.
        positions: number of positions that were looked at.
        limit: why there are fewer positions than there should be, if so.
        norms: Euclidean norm of a vector, mean over tracks, by position.
        spreads: ``spectrum.spread`` by position; empty for a single track.
        spectra: spectrum of the first positions, by their number.
        baked_positions: number of positions in the table baked into the checkpoint, if any.
        equation: the equation of FLOATER.
    """

    blocks: int
    tracks: Tuple[str, ...]
    rows: str
    dim: int
    positions: int
    limit: Optional[str]
    norms: Dict[int, float]
    spreads: Dict[int, float]
    spectra: Dict[int, Spectrum]
    baked_positions: Optional[int]
    equation: Optional[Equation]


@dataclass
class Findings:
    """What a checkpoint holds about positions.

    ``updates`` is the number of updates of its training, if known; ``settings`` are the options
    that its position encoder reads; ``position_parameters`` are those of
    ``inspection.encoders.count_parameters``; ``length`` is the training length, in positions;
    ``stacks`` is empty without positions.
    """

    checkpoint: str
    updates: Optional[int]
    position_encoder: str
    position_blocks: str
    position_injection: Optional[str]
    settings: Dict[str, Any]
    position_parameters: Dict[str, int]
    model_parameters: int
    length: int
    stacks: Dict[str, StackFindings]


def inspect_checkpoint(checkpoint: Path, length: int = 64) -> Findings:
    """Measure the encodings of a checkpoint.

    Args:
        checkpoint: a checkpoint of one of our models.
        length: length of the longest training sentences, in positions, >= 2.

    Raises:
        UserError: if the file is not such a checkpoint, or ``length`` is too small or too large.
    """
    if length < 2:
        raise UserError(f"--length must be >= 2 positions, got {length}")
    state, config, model = load_model(checkpoint)
    parts = parts_of(model)
    for part in parts.values():
        require_room(part.encoder, REACHES[-1] * length + 1, f"--length {length} (times 16)")
    history = state.get("optimizer_history") or [{}]
    lengths = baked_lengths(state["model"])
    baked = {stack.name: lengths.get(prefix) for prefix, stack in model.stacks().items()}
    with naming(checkpoint):
        stacks = {name: _of_part(part, length, baked.get(name)) for name, part in parts.items()}
    return Findings(
        checkpoint=str(checkpoint),
        updates=history[-1].get("num_updates"),
        position_encoder=config.position_encoder,
        position_blocks=config.position_blocks,
        position_injection=config.injection,
        settings=_settings(config, model.stacks()),
        position_parameters=count_parameters(model),
        model_parameters=sum(weight.numel() for weight in model.parameters()),
        length=length,
        stacks=stacks,
    )


def _settings(config: ModelConfig, stacks: Dict[str, PositionedStack]) -> Dict[str, Any]:
    """Return the options that define the encodings, except those that findings name."""
    named = ("position_encoder", "position_blocks", "position_injection", *LEVERS)
    settings = {n: v for n, v in config.in_force().items() if n not in named and v is not None}
    for stack in stacks.values():
        if stack.position_encoder is not None and stack.position_encoder.max_positions is not None:
            limit = config.limits[stack.name]
            settings[limit] = getattr(config, limit)
    return settings


def _of_part(part: Part, length: int, baked: Optional[int]) -> StackFindings:
    encoder, tracks = part.encoder, part.tracks
    table, limit = encoding_table(part, length)
    last = table.size(1) - 1
    shown = sorted({0, *(min(reach * length, last) for reach in REACHES)})
    norms, spreads = table.norm(dim=2).mean(dim=0), spread(table)
    return StackFindings(
        blocks=encoder.tracks // len(tracks),
        tracks=tracks,
        rows=axes_of(part).rows,
        dim=table.size(2),
        positions=table.size(1),
        limit=limit,
        norms={i: float(norms[i]) for i in shown},
        spreads={i: float(spreads[i]) for i in shown if encoder.tracks > 1},
        spectra={n: Spectrum.of(table[:, :n]) for n in ranges(table, length)},
        baked_positions=baked,
        equation=Equation.of(encoder, length) if isinstance(encoder, FloaterEncoder) else None,
    )


def ranges(table: Tensor, length: int) -> Tuple[int, ...]:
    """Return how many first positions to take spectra of: ``length`` and 16 times it, if there."""
    return tuple(sorted({min(n * length, table.size(1)) for n in (1, REACHES[-1])}))
