"""Transformer blocks that inject positions: fairseq's own, with a hook or two overridden."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

from fairseq.distributed import fsdp_wrap
from fairseq.modules import MultiheadAttention
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.biases import Bias, ProjectionBiases, Track, WholeBias
from fairseq_floater.blocks.places import look_up_masked
from fairseq_floater.blocks.seam import NEUTRAL
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

    # fairseq builds both; these are their types where they have biases.
    self_attn: PositionedAttention
    encoder_attn: PositionedAttention

    # What fairseq's classes bring.
    quant_noise: float
    quant_noise_block_size: int

    def _positioned_attention(
        self, embed_dim: int, heads: int, cfg: Any, **kind: Any
    ) -> PositionedAttention:
        """Built as fairseq builds its own; ``kind`` says which of its attentions this is."""
        return PositionedAttention(
            embed_dim,
            heads,
            dropout=cfg.attention_dropout,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
            **kind,
        )

    def projections(self) -> List[nn.Linear]:
        """The projections that this block's tracks are for, in the order of the tracks."""
        found: List[nn.Linear] = []
        for kind in self.slices:
            attention = self.encoder_attn if kind == CROSS else self.self_attn
            names = ("k_proj", "v_proj") if kind == JOINT else ("q_proj", "k_proj", "v_proj")
            found += [getattr(attention, name) for name in names]
        return found

    def _inject(
        self,
        x: Tensor,
        tracks: Optional[Tensor],
        rows: Optional[Tensor],
        source_rows: Optional[Tensor],
    ) -> Tensor:
        """Have attention use the biases, or add the vectors to ``x`` (length, batch, dim).

        ``rows`` (length, batch) and ``source_rows`` (source length, batch) say which row of the
        tracks each token reads, see ``feed``. ``_release`` must follow.
        """
        if tracks is None:
            return x
        if not self.slices:
            return x + look_up_masked(tracks[0], rows, x)
        vectors = tracks.unbind(0)
        if SELF in self.slices:
            self._inject_into_self_attention(vectors, rows, source_rows)
        if CROSS in self.slices:
            # Queries stand at target positions, keys and values at those of the source.
            query, key, value = vectors[self.slices[CROSS]]
            keys = None if source_rows is None else [Track(key, source_rows)]
            values = None if source_rows is None else [Track(value, source_rows)]
            self.encoder_attn.use(ProjectionBiases(_bias(query, rows), keys, values))
        return x

    def _inject_into_self_attention(
        self, vectors: Sequence[Tensor], rows: Optional[Tensor], source_rows: Optional[Tensor]
    ) -> None:
        """Of the block's tracks, (rows, dim) each, or (dim,) in a step; see ``_inject``."""
        query, key, value = vectors[self.slices[SELF]]
        biases = ProjectionBiases(_bias(query, rows), _bias(key, rows), _bias(value, rows))
        if JOINT in self.slices and rows is not None and source_rows is not None:
            # Source tokens come first. Later steps of a decoding keep them.
            source_key, source_value = vectors[self.slices[JOINT]]
            biases.key_bias = [Track(source_key, source_rows), Track(key, rows)]
            biases.value_bias = [Track(source_value, source_rows), Track(value, rows)]
        self.self_attn.use(biases)

    def _release(self) -> None:
        """Attention is without positions again, whatever happened in the pass."""
        if SELF in self.slices:
            self.self_attn.use(NEUTRAL)
        if CROSS in self.slices:
            self.encoder_attn.use(NEUTRAL)


def _bias(vectors: Tensor, rows: Optional[Tensor]) -> Bias:
    return WholeBias(vectors) if rows is None else [Track(vectors, rows)]


class PositionedEncoderLayer(PositionedLayer, TransformerEncoderLayerBase):
    """Encoder block; tracks: one vector (additive), or biases of q, k, v (bias)."""

    def build_self_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        self.slices = track_slices(cfg.position_options, self.attentions)
        if SELF not in self.slices:
            return super().build_self_attention(embed_dim, cfg)
        heads = cfg.encoder.attention_heads
        return self._positioned_attention(embed_dim, heads, cfg, self_attention=True)

    def forward(
        self,
        x: Tensor,
        *args: Any,
        position_tracks: Optional[Tensor] = None,
        rows: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        try:
            x = self._inject(x, position_tracks, rows, None)
            return super().forward(x, *args, **kwargs)
        finally:
            self._release()


class PositionedDecoderLayer(PositionedLayer, TransformerDecoderLayerBase):
    """Decoder block; tracks: one vector (additive), or biases of its attentions (bias)."""

    def __init__(self, cfg: Any, no_encoder_attn: bool = False):
        self.attentions = decoder_attentions(cfg, no_encoder_attn)
        super().__init__(cfg, no_encoder_attn)

    def build_self_attention(
        self, embed_dim: int, cfg: Any, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> MultiheadAttention:
        self.slices = track_slices(cfg.position_options, self.attentions)
        if SELF not in self.slices:
            return super().build_self_attention(embed_dim, cfg, add_bias_kv, add_zero_attn)
        heads, alone = cfg.decoder.attention_heads, not cfg.cross_self_attention
        return self._positioned_attention(embed_dim, heads, cfg, self_attention=alone)

    def build_encoder_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        if CROSS not in self.slices:
            return super().build_encoder_attention(embed_dim, cfg)
        source = {"kdim": cfg.encoder.embed_dim, "vdim": cfg.encoder.embed_dim}
        heads = cfg.decoder.attention_heads
        return self._positioned_attention(
            embed_dim, heads, cfg, encoder_decoder_attention=True, **source
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
        try:
            x = self._inject(x, position_tracks, rows, source_rows)
            x, *rest = super().forward(x, *args, **kwargs)
        finally:
            self._release()
        pads = kwargs.get("self_attn_padding_mask")
        if pads is not None and pads.size(1) == x.size(0) == 1:
            # In incremental decoding a leading pad sees nothing, which makes its output NaN;
            # later tokens would read that from the cache, if only at weight zero. (Where a whole
            # target is one token long, nothing reads a pad, and zeros do no harm.)
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
