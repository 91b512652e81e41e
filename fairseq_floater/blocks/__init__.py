"""The code that brings positions into fairseq's Transformer blocks."""

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.places import Places
from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions
from fairseq_floater.blocks.stacks import FloaterDecoderStack, FloaterEncoderStack

__all__ = [
    "NEUTRAL",
    "AttentionPositions",
    "FloaterDecoderStack",
    "FloaterEncoderStack",
    "Places",
    "PositionedAttention",
    "PositionedStack",
]
