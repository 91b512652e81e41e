"""No positions at all: the control."""

from fairseq_floater.encoders.base import PositionEncoder


class NoPositions(PositionEncoder):
    """A kind without an encoder: tokens are a bag of words, but for the decoder's causal mask."""

    kind = "none"
    injections = ()
    learns = False
