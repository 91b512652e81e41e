"""Position encoders: positions in, trajectories (tracks, positions, dim) out.

Each kind has its own file, with its flags. None imports fairseq or knows what its vectors are for.
"""

from fairseq_floater.encoders.alibi import AlibiEncoder
from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.encoders.departure import FloaterRotation, FloaterScores
from fairseq_floater.encoders.dynamics import build_dynamics
from fairseq_floater.encoders.fire import FireEncoder
from fairseq_floater.encoders.floater import FloaterEncoder
from fairseq_floater.encoders.fourier import FourierEncoder
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.none import NoPositions
from fairseq_floater.encoders.options import (
    BASES,
    FORMERLY,
    KINDS,
    PEERS,
    WITHIN_ATTENTION,
    EncoderOptions,
    Use,
)
from fairseq_floater.encoders.relative_bias import RelativeBiasEncoder
from fairseq_floater.encoders.rnn import RecurrentCell, RNNEncoder
from fairseq_floater.encoders.rotary import RotaryEncoder
from fairseq_floater.encoders.shaw import ShawEncoder
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder

__all__ = [
    "BASES",
    "FORMERLY",
    "KINDS",
    "PEERS",
    "WITHIN_ATTENTION",
    "AlibiEncoder",
    "EncoderOptions",
    "FireEncoder",
    "FloaterEncoder",
    "FloaterRotation",
    "FloaterScores",
    "FourierEncoder",
    "LearnedEncoder",
    "NoPositions",
    "PositionEncoder",
    "RNNEncoder",
    "RecurrentCell",
    "RelativeBiasEncoder",
    "RotaryEncoder",
    "ShawEncoder",
    "SinusoidalEncoder",
    "Use",
    "Wanted",
    "build_dynamics",
    "build_position_encoder",
]
