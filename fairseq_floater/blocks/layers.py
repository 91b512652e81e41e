"""Transformer blocks that inject positions: fairseq's own, with a hook or two overridden."""

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, Optional, Tuple

from fairseq.distributed import fsdp_wrap
from fairseq.modules import MultiheadAttention
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.biases import ProjectionBiases, Track
from fairseq_floater.blocks.places import look_up_masked
from fairseq_floater.blocks.tracks import CROSS, JOINT, SELF, track_slices


class PositionedLayer:
    """What the blocks of both stacks share; mixed into fairseq's classes.

    A block with biases has its own kind of attention, ``PositionedAttention``, where it has
    biases, and fairseq's elsewhere.
    """

    #: the attentions of this block
    attentions: Tuple[str, ...] = (SELF,)

    #: which of the block's tracks belong to which attention
    slices: Dict[str, slice] = {}

    def _biases(self, options: Any) -> Dict[str, slice]:
        """Called while fairseq builds the block, before anything can be set on it."""
        return track_slices(options, self.attentions)

    @contextmanager
    def _positioned(
        self,
        x: Tensor,
        tracks: Optional[Tensor],
        rows: Optional[Tensor],
        source_rows: Optional[Tensor],
    ) -> Iterator[Tensor]:
        """Hold the biases for one pass, or give ``x`` (length, batch, dim) with the vectors."""
        if tracks is None or not self.slices:
            yield x if tracks is None else x + look_up_masked(tracks[0], rows, x)
            return
        of = {kind: tracks[where] for kind, where in self.slices.items()}
        with ExitStack() as stack:
            if SELF in of:
                biases = self_attention_biases(of[SELF], of.get(JOINT), rows, source_rows)
                stack.enter_context(self.self_attn.at(biases))
            if CROSS in of:
                biases = cross_attention_biases(of[CROSS], rows, source_rows)
                stack.enter_context(self.encoder_attn.at(biases))
            yield x


def self_attention_biases(
    tracks: Tensor, joint: Optional[Tensor], rows: Optional[Tensor], source_rows: Optional[Tensor]
) -> ProjectionBiases:
    """Of ``tracks`` (3, rows, dim), and ``joint`` (2, rows, dim) of source tokens read as well.

    In later steps of a decoding those source tokens are kept, and there are no rows for them.
    """
    query, key, value = (Track(vectors, rows) for vectors in tracks)
    keys, values = [key], [value]
    if joint is not None and source_rows is not None:
        keys.insert(0, Track(joint[0], source_rows))
        values.insert(0, Track(joint[1], source_rows))
    return ProjectionBiases(query, keys, values)


def cross_attention_biases(
    tracks: Tensor, rows: Optional[Tensor], source_rows: Optional[Tensor]
) -> ProjectionBiases:
    """Of ``tracks`` (3, rows, dim): queries by target positions, keys and values by the source's.

    Incremental decoding projects keys and values at its first step only, and keeps them.
    """
    query, key, value = tracks
    keys = [Track(key, source_rows)]
    return ProjectionBiases(Track(query, rows), keys, [Track(value, source_rows)])


class PositionedEncoderLayer(PositionedLayer, TransformerEncoderLayerBase):
    """Encoder block; tracks: one vector (additive), or biases of q, k, v (bias)."""

    def build_self_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        self.slices = self._biases(cfg.position_options)
        if SELF not in self.slices:
            return super().build_self_attention(embed_dim, cfg)
        return PositionedAttention(
            embed_dim,
            cfg.encoder.attention_heads,
            dropout=cfg.attention_dropout,
            self_attention=True,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def forward(
        self,
        x: Tensor,
        *args: Any,
        position_tracks: Optional[Tensor] = None,
        rows: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        with self._positioned(x, position_tracks, rows, None) as x:
            return super().forward(x, *args, **kwargs)


class PositionedDecoderLayer(PositionedLayer, TransformerDecoderLayerBase):
    """Decoder block; tracks: one vector (additive), or biases of its attentions (bias)."""

    def __init__(self, cfg: Any, no_encoder_attn: bool = False):
        self.attentions = decoder_attentions(cfg, no_encoder_attn)
        super().__init__(cfg, no_encoder_attn)

    def build_self_attention(
        self, embed_dim: int, cfg: Any, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> MultiheadAttention:
        self.slices = self._biases(cfg.position_options)
        if SELF not in self.slices:
            return super().build_self_attention(embed_dim, cfg, add_bias_kv, add_zero_attn)
        return PositionedAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            dropout=cfg.attention_dropout,
            self_attention=not cfg.cross_self_attention,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def build_encoder_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        if CROSS not in self.slices:
            return super().build_encoder_attention(embed_dim, cfg)
        return PositionedAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            kdim=cfg.encoder.embed_dim,
            vdim=cfg.encoder.embed_dim,
            dropout=cfg.attention_dropout,
            encoder_decoder_attention=True,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
        )

    def forward(
        self,
        x: Tensor,
        *args: Any,
        position_tracks: Optional[Tensor] = None,
        rows: Optional[Tensor] = None,
        source_rows: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        with self._positioned(x, position_tracks, rows, source_rows) as x:
            x, *rest = super().forward(x, *args, **kwargs)
        pads = kwargs.get("self_attn_padding_mask")
        if pads is not None and pads.size(1) == x.size(0) == 1:
            # In incremental decoding a leading pad sees nothing, which makes its output NaN;
            # later tokens would read that from the cache, if only at weight zero.
            x = x.masked_fill(pads.t().unsqueeze(-1), 0.0)
        return (x, *rest)


def decoder_attentions(cfg: Any, no_encoder_attn: bool) -> Tuple[str, ...]:
    """The attentions of a decoder's blocks."""
    joint = (JOINT,) if cfg.cross_self_attention else ()
    return (SELF, *joint, *(() if no_encoder_attn else (CROSS,)))


def wrap_layer(layer: nn.Module, cfg: Any) -> nn.Module:
    """Activation checkpointing and FSDP, as fairseq wraps its own blocks."""
    if cfg.checkpoint_activations:
        layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
    # fairseq always wraps checkpointed blocks, whatever their size.
    return fsdp_wrap(
        layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap
    )
