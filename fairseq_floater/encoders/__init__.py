"""Position encoders: positions in, trajectories (tracks, positions, dim) out."""

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.encoders.floater import FloaterEncoder
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.rnn import RecurrentCell, RNNEncoder
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder

__all__ = [
    "FloaterEncoder",
    "LearnedEncoder",
    "PositionEncoder",
    "RNNEncoder",
    "RecurrentCell",
    "SinusoidalEncoder",
]
