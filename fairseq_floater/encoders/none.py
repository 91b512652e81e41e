"""No positions at all: the control."""

from fairseq_floater.encoders.base import PositionEncoder


class NoPositions(PositionEncoder):
    """A kind without an encoder: tokens are a bag of words, except for a decoder's causal mask."""

    kind = "none"
    injections = ()
    learns = False
