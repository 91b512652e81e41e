"""Transformer blocks with positions: fairseq's own, with a method or two overridden."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.forms import Form, form_of
from fairseq_floater.blocks.places import look_up_masked
from fairseq_floater.blocks.seam import NEUTRAL, Together
from fairseq_floater.blocks.steps import BiasedAttention
from fairseq_floater.blocks.tracks import CROSS, JOINT, SELF, track_slices
from fairseq_floater.encoders import EncoderOptions


class BlockForm(NamedTuple):
    """How one encoder's tracks act in a block.

    Attributes:
        form: the form in which they act.
        slices: where in the block's tracks those of each attention are.
    """

    form: Form
    slices: Dict[str, slice]


def block_forms(
    options: EncoderOptions, attentions: Tuple[str, ...], causal: bool, head_dim: int
) -> Dict[str, BlockForm]:
    """Return the forms of a block's positions, by the part of the stack that they come from."""
    forms = {}
    for part, use in options.uses.items():
        form = form_of(options, use, head_dim)
        if form is not None:
            forms[part] = BlockForm(form, track_slices(options, use, attentions, causal))
    return forms


def name_dropouts(stack: Any) -> None:
    """Give dropouts their names in fairseq, by which ``--retain-dropout-modules`` chooses.

    fairseq names them after the class of the module that they belong to, which here is ours.
    """
    for owner in stack.modules():
        ours = type(owner)
        theirs = next((c for c in ours.__mro__ if c.__module__.startswith("fairseq.")), ours)
        for part in owner.children():
            if isinstance(part, FairseqDropout) and part.module_name == ours.__name__:
                # It drops the end of a stack's name, but not of a block's.
                name = theirs.__name__
                part.module_name = name.removesuffix("Base") if owner is stack else name


class PositionedLayer:
    """What the blocks of both stacks share: a mixin for fairseq's classes.

    A block uses ``PositionedAttention`` where positions act in an attention, and fairseq's own
    attention elsewhere.
    """

    #: the attentions of this block
    attentions: Tuple[str, ...] = (SELF,)

    #: how positions act in them, by the part of the stack that they come from: position_encoder or
    #: base_encoder
    forms: Dict[str, BlockForm] = {}

    # fairseq builds both; these are their types where positions act in them.
    self_attn: PositionedAttention
    encoder_attn: PositionedAttention

    # Provided by fairseq's classes.
    quant_noise: float
    quant_noise_block_size: int

    def _choose_forms(self, cfg: Any, side: Any, causal: bool) -> None:
        """Choose the forms by the configuration of the model and of this block's stack."""
        self._used: List[PositionedAttention] = []  # those that have positions in this pass
        head_dim = side.embed_dim // side.attention_heads
        self.forms = block_forms(cfg.position_options, self.attentions, causal, head_dim)

    def _has_positions(self, cfg: Any, attention: str) -> bool:
        acting = any(attention in part.slices for part in self.forms.values())
        return acting or cfg.position_options.attention_log_scale is not None

    def _positioned_attention(
        self, embed_dim: int, heads: int, cfg: Any, **kind: Any
    ) -> PositionedAttention:
        """Build attention as fairseq does; ``kind`` says which of its attentions this is."""
        return PositionedAttention(
            embed_dim,
            heads,
            dropout=cfg.attention_dropout,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
            log_scale=cfg.position_options.attention_log_scale,
            **kind,
        )

    def biased_attentions(self) -> List[BiasedAttention]:
        """Return the attentions that have biases, in the order of their tracks.

        Keys and values of the source are computed in the first step only.
        """
        # the letters of its projections, and how many of them a later step computes
        known = {SELF: ("qkv", 3), JOINT: ("kv", 0), CROSS: ("qkv", 1)}
        found = []
        for name in self.forms["position_encoder"].slices:
            letters, computed = known[name]
            attention = self.encoder_attn if name == CROSS else self.self_attn
            projections = [getattr(attention, f"{letter}_proj") for letter in letters]
            found.append(BiasedAttention(attention, projections, computed))
        return found

    def _inject(
        self,
        x: Tensor,
        tracks: Mapping[str, Optional[Tensor]],
        rows: Optional[Tensor],
        source_rows: Optional[Tensor],
    ) -> Tensor:
        """Have attention use the positions, or add the vectors to ``x`` (length, batch, dim).

        The arguments are those of ``feed``, with the tracks by the part of the stack that they come
        from. Positions that an attention already has, namely the biases of a decoding step, stay
        in use beside the new ones. ``_release`` must follow.
        """
        vectors = tracks["position_encoder"]
        if vectors is not None and "position_encoder" not in self.forms:
            return x + look_up_masked(vectors[0], rows, x)
        for part, (form, slices) in self.forms.items():
            table = tracks[part]
            if table is None:
                continue
            given = {attention: table[place] for attention, place in slices.items()}
            for attention, positions in form.in_attention(given, rows, source_rows).items():
                module = self.encoder_attn if attention == CROSS else self.self_attn
                other = module.positions
                module.use(positions if other is NEUTRAL else Together(other, positions))
                self._used.append(module)
        return x

    def _release(self) -> None:
        """Leave attention without positions again, even if the pass has failed."""
        while self._used:
            self._used.pop().use(NEUTRAL)


class PositionedEncoderLayer(PositionedLayer, TransformerEncoderLayerBase):
    """Encoder block. Its tracks are one vector (additive), or those of its self-attention."""

    def build_self_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        # Built first of a block's attentions, all of which need the forms.
        self._choose_forms(cfg, cfg.encoder, causal=False)
        if not self._has_positions(cfg, SELF):
            return super().build_self_attention(embed_dim, cfg)
        heads = cfg.encoder.attention_heads
        return self._positioned_attention(embed_dim, heads, cfg, self_attention=True)

    def forward(
        self,
        x: Tensor,
        *args: Any,
        position_tracks: Optional[Tensor] = None,
        base_tracks: Optional[Tensor] = None,
        rows: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        tracks = {"position_encoder": position_tracks, "base_encoder": base_tracks}
        try:
            x = self._inject(x, tracks, rows, None)
            return super().forward(x, *args, **kwargs)
        finally:
            self._release()


class PositionedDecoderLayer(PositionedLayer, TransformerDecoderLayerBase):
    """Decoder block. Its tracks are one vector (additive), or those of its attentions."""

    def __init__(self, cfg: Any, no_encoder_attn: bool = False):
        # fairseq's __init__ builds the attentions, which must know these by then.
        self.attentions = decoder_attentions(cfg, no_encoder_attn)
        super().__init__(cfg, no_encoder_attn)

    def build_self_attention(
        self, embed_dim: int, cfg: Any, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> MultiheadAttention:
        self._choose_forms(cfg, cfg.decoder, causal=True)
        if not self._has_positions(cfg, SELF):
            return super().build_self_attention(embed_dim, cfg, add_bias_kv, add_zero_attn)
        heads, alone = cfg.decoder.attention_heads, not cfg.cross_self_attention
        return self._positioned_attention(embed_dim, heads, cfg, self_attention=alone)

    def build_encoder_attention(self, embed_dim: int, cfg: Any) -> MultiheadAttention:
        if not self._has_positions(cfg, CROSS):
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
        base_tracks: Optional[Tensor] = None,
        rows: Optional[Tensor] = None,
        source_rows: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> Any:
        tracks = {"position_encoder": position_tracks, "base_encoder": base_tracks}
        try:
            x = self._inject(x, tracks, rows, source_rows)
            x, *rest = super().forward(x, *args, **kwargs)
        finally:
            self._release()
        pads = kwargs.get("self_attn_padding_mask")
        if pads is not None and pads.size(1) == x.size(0) == 1:
            # In incremental decoding a leading pad sees nothing, which makes its output NaN.
            # Later tokens would read that from the cache, even if only at weight zero. (Where a
            # whole target is one token long, nothing reads a pad, and zeros do no harm.)
            x = x.masked_fill(pads.t().unsqueeze(-1), 0.0)
        return (x, *rest)


def decoder_attentions(cfg: Any, no_encoder_attn: bool) -> Tuple[str, ...]:
    """The attentions of a decoder's blocks."""
    joint = (JOINT,) if cfg.cross_self_attention else ()
    return (SELF, *joint, *(() if no_encoder_attn else (CROSS,)))


def wrap_layer(layer: nn.Module, cfg: Any) -> nn.Module:
    """Wrap for activation checkpointing, as fairseq does; FSDP is refused elsewhere."""
    if cfg.checkpoint_activations:
        return checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
    return layer
