"""fairseq's encoder and decoder with positions."""

from typing import Any, Dict, List, Optional, Tuple, Union

import torch
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from torch import Tensor, nn

from fairseq_floater import devices
from fairseq_floater.blocks.layers import (
    PositionedDecoderLayer,
    PositionedEncoderLayer,
    decoder_attentions,
    wrap_layer,
)
from fairseq_floater.blocks.places import Places, one_if_alike, token_numbers
from fairseq_floater.blocks.positioned import PositionedStack, require_bounded
from fairseq_floater.blocks.tracks import CROSS, JOINT, SELF


class FloaterEncoderStack(PositionedStack, TransformerEncoderBase):
    """fairseq's Transformer encoder with injected positions."""

    limit_name = "max_source_positions"
    causal = False

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: Any, return_fc: bool = False):
        require_bounded(self.limit_name, cfg.max_source_positions)
        super().__init__(cfg, dictionary, embed_tokens, return_fc)
        self._install_positions(cfg, cfg.encoder, "encoder", (SELF,), cfg.max_source_positions)

    def build_encoder_layer(self, cfg: Any) -> nn.Module:
        return wrap_layer(PositionedEncoderLayer(cfg, return_fc=self.return_fc), cfg)

    def forward(self, src_tokens: Tensor, *args: Any, **kwargs: Any) -> Dict[str, List[Tensor]]:
        places = self.places(src_tokens)
        with self.opened(places):
            encoded = super().forward(src_tokens, *args, **kwargs)
        # Cross-attention needs the places of tokens where their numbers alone are not enough.
        moved = self.options.timed or self.options.position_shift
        places_of_tokens = places.tokens.expand(len(src_tokens), -1)
        return {**encoded, "places": [places_of_tokens]} if moved else encoded

    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        reordered = super().reorder_encoder_out(encoder_out, new_order)
        for places in encoder_out.get("places", ()):
            reordered["places"] = [places.index_select(0, new_order)]
        return reordered


class FloaterDecoderStack(PositionedStack, TransformerDecoderBase):
    """fairseq's Transformer decoder with injected positions."""

    limit_name = "max_target_positions"
    causal = True

    #: whether pads precede the tokens of targets; None if the task does not say
    left_pad_target: Optional[bool] = None

    def __init__(
        self,
        cfg: Any,
        dictionary: Any,
        embed_tokens: Any,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ):
        require_bounded(self.limit_name, cfg.max_target_positions)
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn, output_projection)
        attentions = decoder_attentions(cfg, no_encoder_attn)
        limit = cfg.max_target_positions
        self._install_positions(cfg, cfg.decoder, "decoder", attentions, limit)
        acting = {
            attention
            for layer in self._positioned_layers
            for part in layer.forms.values()
            for attention in part.slices
        }
        self.follows_source = bool(acting & {CROSS, JOINT})

    def build_decoder_layer(self, cfg: Any, no_encoder_attn: bool = False) -> nn.Module:
        return wrap_layer(PositionedDecoderLayer(cfg, no_encoder_attn), cfg)

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Optional[Dict[str, Any]] = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tuple[Tensor, Dict[str, Any]]:
        pads = prev_output_tokens.eq(self.padding_idx)
        if incremental_state is None and self._left_padded(pads):
            return self._extract_left_padded(prev_output_tokens, encoder_out, None, *args, **kwargs)
        arguments = (prev_output_tokens, encoder_out, incremental_state, *args)
        places = self._target_places(prev_output_tokens, pads, encoder_out, incremental_state)
        with self.opened(places, incremental_state):
            return super().extract_features(*arguments, **kwargs)

    def _left_padded(self, pads: Tensor) -> bool:
        """True if a pad precedes a token in ``pads`` (batch, length).

        Reading them would make a GPU wait at every update, so in training, batches are assumed to
        be padded as the task says.
        """
        if self.training and self.left_pad_target is False and not devices.free_to_read(pads):
            return False
        return bool((pads[:, :-1] & ~pads[:, 1:]).any())

    def _target_places(
        self,
        tokens: Tensor,
        pads: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Optional[Dict[str, Any]],
    ) -> Union[Places, int]:
        """Return where the tokens (batch, length) stand, and the source's if tracks follow them."""
        if (
            not self.options.timed
            and not torch.is_grad_enabled()  # the sum of table and biases is for inference
            and (self._first_step(incremental_state).steps is not None or not self.biased)
            and self._is_later(incremental_state)
            and not bool(pads.any())
        ):
            # Every row decodes the same position, and one vector serves all of them.
            return tokens.size(1) - 1 + self.options.position_shift
        places = self.places(tokens, pads, vary=incremental_state is None)
        if self.follows_source and encoder_out is not None:
            places = places._replace(source=self.source_places(encoder_out))
        return places

    def source_places(self, encoder_out: Dict[str, List[Tensor]]) -> Tensor:
        """Return where source tokens stand, as our encoder says, or else by number.

        Their shape is (1 or batch, source length).
        """
        if encoder_out.get("places"):
            return encoder_out["places"][0]
        numbers = token_numbers(one_if_alike(encoder_out["encoder_padding_mask"][0]))
        return Places.shifted(numbers, numbers, self.options.position_shift).tokens

    def _extract_left_padded(
        self, tokens: Tensor, *args: Any, **kwargs: Any
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """Move padding from the left to the right, and the outputs back.

        A pad on the left sees nothing but pads, which fairseq's own attention turns into NaN.
        """
        order = tokens.eq(self.padding_idx).int().argsort(dim=1, stable=True)
        x, extra = self.extract_features(tokens.gather(1, order), *args, **kwargs)
        back = order.argsort(dim=1).unsqueeze(-1)
        extra["attn"] = [a if a is None else a.take_along_dim(back, 1) for a in extra["attn"]]
        states = extra["inner_states"]  # (length, batch, dim)
        extra["inner_states"] = [s.take_along_dim(back.transpose(0, 1), 0) for s in states]
        return x.take_along_dim(back, 1), extra
