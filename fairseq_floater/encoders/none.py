"""No positions at all: the control."""

from typing import Any

from fairseq_floater.encoders.base import PositionEncoder, Wanted


class NoPositions(PositionEncoder):
    """A kind without an encoder: tokens are a bag of words, but for the decoder's causal mask."""

    kind = "none"
    injections = ()
    learns = False

    @classmethod
    def from_options(cls, options: Any, wanted: Wanted) -> None:
        return None
