"""Transformer blocks that inject positions: fairseq's own, with a hook or two overridden."""

from contextlib import contextmanager
from typing import Iterator, List, Optional, Tuple, Union

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.modules import MultiheadAttention
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.blocks.positions import look_up, look_up_masked
from fairseq_floater.encoders import PositionEncoder

PROJECTIONS = ("q_proj", "k_proj", "v_proj")

#: a track (positions, dim) and the positions (length, batch) of the tokens; or, where all tokens
#: are at one position, (dim,), in which the projection's own bias is contained
Bias = Union[Tuple[Tensor, Tensor], Tensor]


class PositionedLinear(nn.Linear):
    """A projection with a bias that depends on the position (paper, section 3.3)."""

    #: holds one ``Bias`` during a pass; a list, as setting a module's attribute takes longer
    position_bias: List[Bias]

    def forward(self, x: Tensor) -> Tensor:
        if not self.position_bias:
            return super().forward(x)
        bias = self.position_bias[0]
        if isinstance(bias, Tensor):
            return F.linear(x, self.weight, bias)
        track, positions = bias
        # A fresh tensor: fairseq scales the queries in place.
        return super().forward(x) + look_up(track, positions, x)


class ProjectionBias:
    """Gives the projections of one attention their trajectories, for one pass at a time.

    The projections stay fairseq's own objects, with their weights, state keys and quantisation
    noise, and only change class. fairseq has two paths that read their weights instead of calling
    them: ``F.multi_head_attention_forward``, which encoder self-attention always takes and decoder
    self-attention in training but not in generation, and xFormers. ``skip_embed_dim_check``
    turns both off, in training and generation alike.
    """

    def __init__(self, attention: MultiheadAttention):
        attention._set_skip_embed_dim_check()
        self.projections = [getattr(attention, name) for name in PROJECTIONS]
        for projection in self.projections:
            projection.__class__ = PositionedLinear
            projection.position_bias = []

    def give(self, tracks: Tensor, queries: Tensor, keys: Optional[Tensor]) -> None:
        """Bias by ``tracks`` (3, positions, dim) at positions (length, batch).

        Without positions of the keys they are kept from the first step of a decoding.
        """
        for projection, track, at in zip(self.projections, tracks, (queries, keys, keys)):
            projection.position_bias[:] = [] if at is None else [(track, at)]

    def take(self) -> None:
        for projection in self.projections:
            projection.position_bias.clear()


class StepBiases:
    """The biases of a whole stack in the later steps of a decoding, all tokens at one position.

    They are added to the projections' own for many positions at once, so that a step costs what
    it costs without.
    """

    def __init__(self, projections: List[PositionedLinear]):
        self.projections = projections
        self.table: Optional[Tensor] = None  # (tracks, positions, dim)

    def forget(self) -> None:
        """Another decoding begins; parameters may have changed."""
        self.table = None

    @contextmanager
    def given(self, encoder: PositionEncoder, position: int) -> Iterator[None]:
        """Bias every projection by its track of ``encoder`` at ``position``."""
        if self.table is None or self.table.size(1) <= position:
            own = torch.stack([projection.bias for projection in self.projections])
            self.table = (encoder.kept(position + 1) + own.unsqueeze(1)).to(own.dtype)
        for projection, row in zip(self.projections, self.table[:, position]):
            projection.position_bias[:] = [row]
        try:
            yield
        finally:
            for projection in self.projections:
                projection.position_bias.clear()


class PositionedLayer:
    """What the blocks of both stacks share; mixed into fairseq's classes."""

    self_bias: Optional[ProjectionBias] = None
    cross_bias: Optional[ProjectionBias] = None

    def build_self_attention(self, embed_dim, cfg, **kwargs):
        attention = super().build_self_attention(embed_dim, cfg, **kwargs)
        if cfg.position_options.injection == "bias":
            self.self_bias = ProjectionBias(attention)
        return attention

    @contextmanager
    def _injected(
        self,
        x: Tensor,
        tracks: Optional[Tensor],
        positions: Optional[Tensor],
        source_positions: Optional[Tensor] = None,
    ) -> Iterator[Tensor]:
        """Hold the biases for one pass, or give ``x`` (length, batch, dim) with the vectors."""
        if tracks is None or self.self_bias is None:
            yield x if tracks is None else x + look_up_masked(tracks[0], positions, x)
            return
        at = positions.clamp(min=0)  # pads are masked by attention: any bias will do
        biases = [self.self_bias]
        self.self_bias.give(tracks[:3], at, at)
        if len(tracks) > 3:
            biases.append(self.cross_bias)
            source = None if source_positions is None else source_positions.clamp(min=0)
            self.cross_bias.give(tracks[3:], at, source)
        try:
            yield x
        finally:
            for bias in biases:
                bias.take()


class PositionedEncoderLayer(PositionedLayer, TransformerEncoderLayerBase):
    """Encoder block; tracks: one vector (additive), or biases of q, k, v (bias)."""

    def forward(
        self,
        x: Tensor,
        *args,
        position_tracks: Optional[Tensor] = None,
        positions: Optional[Tensor] = None,
        **kwargs,
    ):
        with self._injected(x, position_tracks, positions) as x:
            return super().forward(x, *args, **kwargs)


class PositionedDecoderLayer(PositionedLayer, TransformerDecoderLayerBase):
    """Decoder block; tracks: one vector (additive), or biases of self q, k, v, cross q, k, v.

    Cross-attention's keys and values follow the source positions. Incremental decoding projects
    them at the first step only and keeps them, biases included.
    """

    def build_encoder_attention(self, embed_dim, cfg):
        attention = super().build_encoder_attention(embed_dim, cfg)
        if cfg.position_options.injection == "bias":
            self.cross_bias = ProjectionBias(attention)
        return attention

    def forward(
        self,
        x: Tensor,
        *args,
        position_tracks: Optional[Tensor] = None,
        positions: Optional[Tensor] = None,
        source_positions: Optional[Tensor] = None,
        **kwargs,
    ):
        with self._injected(x, position_tracks, positions, source_positions) as x:
            x, *rest = super().forward(x, *args, **kwargs)
        pads = kwargs.get("self_attn_padding_mask")
        if pads is not None and pads.size(1) == x.size(0) == 1:
            # In incremental decoding a leading pad sees nothing, which makes its output NaN;
            # later tokens would read that from the cache, if only at weight zero.
            x = x.masked_fill(pads.t().unsqueeze(-1), 0.0)
        return (x, *rest)


def wrap_layer(layer: nn.Module, cfg) -> nn.Module:
    """Activation checkpointing and FSDP, as fairseq wraps its own blocks."""
    if cfg.checkpoint_activations:
        layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
    # fairseq always wraps checkpointed blocks, whatever their size.
    return fsdp_wrap(
        layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap
    )
