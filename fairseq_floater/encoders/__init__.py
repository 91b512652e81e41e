"""Position encoders: positions in, trajectories (tracks, positions, dim) out.

One file per kind, with its flags. None imports fairseq or knows what its vectors are used for.
"""

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.encoders.floater import FloaterEncoder, build_dynamics
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.none import NoPositions
from fairseq_floater.encoders.options import KINDS, EncoderOptions
from fairseq_floater.encoders.rnn import RecurrentCell, RNNEncoder
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder

__all__ = [
    "KINDS",
    "EncoderOptions",
    "FloaterEncoder",
    "LearnedEncoder",
    "NoPositions",
    "PositionEncoder",
    "RNNEncoder",
    "RecurrentCell",
    "SinusoidalEncoder",
    "Wanted",
    "build_dynamics",
    "build_position_encoder",
]
