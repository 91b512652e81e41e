"""From options to a position encoder."""

from typing import Optional, Sequence

import torch

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.options import EncoderOptions


def build_position_encoder(
    options: EncoderOptions,
    tracks: int,
    dim: int,
    *,
    name: str = "model",
    offset: int = 0,
    max_positions: int = 1024,
    blocks: Optional[Sequence[int]] = None,
    seed: Optional[int] = None,
) -> Optional[PositionEncoder]:
    """The encoder that ``options`` describe; None where these are no positions.

    Args:
        options: validated options.
        tracks, dim, name, offset, max_positions, blocks: see ``Wanted``.
        seed: draw the initial values from a generator of their own, so that the rest of a model
            starts from the same weights whatever its position encoder.
    """
    wanted = Wanted(
        tracks=tracks,
        dim=dim,
        injection=options.injection or "",
        name=name,
        offset=offset,
        max_positions=max_positions,
        blocks=None if blocks is None else tuple(blocks),
    )
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # that of the CPU alone, which is restored
        return options.kind.from_options(options, wanted)
