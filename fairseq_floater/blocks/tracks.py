"""Which trajectories a stack of blocks needs, and the encoder that computes them."""

import zlib
from typing import Optional, Tuple

import torch
from fairseq.models.transformer import TransformerConfig

from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.build import build_position_encoder

SELF_ATTENTION = ("self query", "self key", "self value")
CROSS_ATTENTION = ("cross query", "cross key", "cross value")


def block_tracks(cfg: TransformerConfig, stack: str) -> Tuple[str, ...]:
    """Names of one block's tracks, in order. ``stack`` is ``encoder`` or ``decoder``."""
    if cfg.position_options.injection == "additive":
        return ("input",)
    if stack == "encoder" or cfg.no_cross_attention:
        return SELF_ATTENTION
    return SELF_ATTENTION + CROSS_ATTENTION


def build_stack_encoder(
    cfg: TransformerConfig, stack: str, offset: int = 2
) -> Optional[PositionEncoder]:
    """The position encoder of a stack, its tracks block by block; None without positions.

    Its initial values come from a generator of their own, seeded by the global seed, so that the
    rest of the model starts from the same weights whatever the position encoder.
    """
    options, side = cfg.position_options, getattr(cfg, stack)
    blocks = side.layers if options.position_blocks == "all" else 1
    return build_position_encoder(
        options,
        blocks * len(block_tracks(cfg, stack)),
        side.embed_dim,
        name=stack,
        offset=offset,
        max_positions=cfg.max_source_positions if stack == "encoder" else cfg.max_target_positions,
        seed=(torch.initial_seed() + zlib.crc32(stack.encode())) % 2**63,
    )
