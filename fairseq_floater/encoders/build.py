"""Build a position encoder from options."""

from typing import Any, Dict, Optional, Tuple, Type

import torch

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.departure import FloaterRotation, FloaterScores
from fairseq_floater.encoders.options import EncoderOptions, Use

#: by kind and injection, the class that replaces the kind's own for that injection
BY_INJECTION: Dict[Tuple[str, str], Type[PositionEncoder]] = {
    ("floater", "rotation"): FloaterRotation,
    ("floater", "scores"): FloaterScores,
}


def build_position_encoder(
    options: EncoderOptions,
    tracks: int,
    dim: int,
    *,
    use: Optional[Use] = None,
    seed: Optional[int] = None,
    **wanted: Any,
) -> Optional[PositionEncoder]:
    """Build the encoder that ``options`` describe; return None if they ask for no positions.

    Args:
        options: validated options.
        tracks, dim, wanted: see ``Wanted``.
        use: a use of positions other than the options' own, such as that of their base positions.
        seed: draws the initial values from a separate generator, so that the rest of a model starts
            from the same weights regardless of its position encoder.

    Raises:
        UserError: for options that do not fit what is wanted.
    """
    use = use or options.chosen
    if use is None:
        return None
    asked = Wanted(tracks=tracks, dim=dim, injection=use.injection, **wanted)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)  # the CPU's only, which is restored
        kind = BY_INJECTION.get((use.encoder_class.kind, use.injection), use.encoder_class)
        return kind.from_options(options, asked)
