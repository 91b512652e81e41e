"""Transformer blocks that inject positions: fairseq's own, with a hook or two overridden."""

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Dict, Iterator, Optional, Tuple

from fairseq.distributed import fsdp_wrap
from fairseq.modules import MultiheadAttention
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from fairseq_floater.positions import look_up, look_up_masked

PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class ProjectionBias:
    """Adds a trajectory to the output of each projection of one attention (paper, section 3.3).

    Forward hooks on the projections, so that weights, state keys and quantisation noise stay
    fairseq's. The hooks only run if the projections are called, and fairseq has two paths that
    read their weights instead: ``F.multi_head_attention_forward``, which encoder self-attention
    always takes and decoder self-attention in training but not in generation, and xFormers.
    ``skip_embed_dim_check`` turns both off, in training and generation alike.
    """

    def __init__(self, attention: MultiheadAttention):
        self._biases: Dict[str, Tuple[Tensor, Tensor]] = {}
        attention._set_skip_embed_dim_check()
        for name in PROJECTIONS:
            getattr(attention, name).register_forward_hook(partial(self._add, name))

    @contextmanager
    def given(self, tracks: Tensor, queries: Tensor, keys: Tensor) -> Iterator[None]:
        """Bias the projections by ``tracks`` (3, positions, dim) at positions (length, batch)."""
        self._biases = dict(zip(PROJECTIONS, zip(tracks.unbind(0), (queries, keys, keys))))
        try:
            yield
        finally:
            self._biases = {}

    def _add(self, name: str, projection: nn.Module, args: tuple, output: Tensor):
        # A fresh tensor: fairseq scales the queries in place.
        return output + look_up(*self._biases[name], output) if self._biases else None


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
        with ExitStack() as biases:
            if tracks is not None and self.self_bias is None:
                x = x + look_up_masked(tracks[0], positions, x)
            elif tracks is not None:
                biases.enter_context(self.self_bias.given(tracks[:3], positions, positions))
                if source_positions is not None:
                    cross = self.cross_bias.given(tracks[3:], positions, source_positions)
                    biases.enter_context(cross)
            yield x


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
