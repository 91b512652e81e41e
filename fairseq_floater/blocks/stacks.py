"""Encoder and decoder that compute their trajectories once a pass and feed them to the blocks."""

from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Tuple

import torch
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from torch import Tensor

from fairseq_floater.blocks.feed import InputPositions, PositionFeed
from fairseq_floater.blocks.layers import (
    PositionedDecoderLayer,
    PositionedEncoderLayer,
    PositionedLayer,
    StepBiases,
    wrap_layer,
)
from fairseq_floater.blocks.positions import positions_needed, token_positions
from fairseq_floater.blocks.times import as_indices, sentence_times
from fairseq_floater.blocks.tracks import SELF_ATTENTION, block_tracks, build_stack_encoder
from fairseq_floater.encoders import LearnedEncoder, PositionEncoder, SinusoidalEncoder
from fairseq_floater.errors import UserError

#: what a stack without a limit reports as its ``max_positions``
UNLIMITED = 10**9


class PositionedStack:
    """What encoder and decoder share; mixed into fairseq's classes."""

    positions: Optional[PositionEncoder]

    def _install_positions(self, cfg, stack: str) -> None:
        """Replace fairseq's input encoding and hook the blocks up to the trajectories."""
        side, bias = getattr(cfg, stack), cfg.position_options.injection == "bias"
        offset = self.padding_idx + 1  # where fairseq's sinusoids count from
        self.biased = bias
        self.options = cfg.position_options
        self.timed = self.options.position_times != "tokens"
        self.tracks_per_block = len(block_tracks(cfg, stack))
        self.positions = build_stack_encoder(cfg, stack, offset)
        self.feed = PositionFeed()
        layers = [m for m in self.modules() if isinstance(m, PositionedLayer)]
        self.feed.attach(layers, first=0 if bias else 1)
        biases = [b for m in layers for b in (m.self_bias, m.cross_bias) if b is not None]
        projections = [projection for b in biases for projection in b.projections]
        tracks = 0 if self.positions is None else self.positions.tracks
        self.step_biases = StepBiases(projections[:tracks])
        if self.positions is None:
            self.embed_positions = None
        elif not bias:
            self.embed_positions = InputPositions(self.feed)
        elif self.embed_positions is not None:
            base = SinusoidalEncoder(1, side.embed_dim, offset=offset, name=stack)
            if side.learned_pos:
                table = self.embed_positions.weight.detach()[offset:].unsqueeze(0)
                base = LearnedEncoder.from_table(table, name=stack)
            self.embed_positions = InputPositions(self.feed, base)

    def _fed(self, positions: Tensor, source: Optional[Tensor] = None, incremental_state=None):
        """Open the feed for one pass over tokens at ``positions`` (batch, length).

        In incremental decoding only the last position is fed, as fairseq cuts the tokens, and
        parameters stay as they are from its second step on.
        """
        needed = positions_needed(self._limit(), positions, source)
        self.step_biases.forget()
        base, blocks = self._vectors(needed, unchanged=bool(incremental_state))
        if incremental_state is not None:
            positions = positions[:, -1:]
        return self.feed.opened(blocks, base, positions, source)

    @contextmanager
    def _fed_at(self, position: int) -> Iterator[None]:
        """Open the feed for a later step of a decoding, all its tokens at one position.

        Keys and values of the source were biased at the first step, and kept.
        """
        if not self.biased:
            blocks = self.positions(position + 1, True)[:, position:].split(1)
            with self.feed.opened(blocks, None, None):
                yield
            return
        base = getattr(self.embed_positions, "encoder", None)
        table = None if base is None else base(position + 1, True)[0, position:]
        with self.feed.opened((), table, None), self.step_biases.given(self.positions, position):
            yield

    def _vectors(self, needed: int, unchanged: bool):
        """The base encoding, None without, and the tracks by block."""
        base = getattr(self.embed_positions, "encoder", None)
        table = None if base is None else base(needed, unchanged)[0]
        return table, self.positions(needed, unchanged).split(self.tracks_per_block)

    def _fed_by_times(
        self, tokens: Tensor, source_times: Optional[Tensor] = None, incremental_state=None
    ):
        """Open the feed for one pass over ``tokens`` (batch, length) that have times of their own.

        The base encoding stays at token positions, as the base model knows it.
        """
        unchanged = bool(incremental_state)
        positions = token_positions(tokens.eq(self.padding_idx))
        times = [self._times(tokens)] + ([] if source_times is None else [source_times])
        base = getattr(self.embed_positions, "encoder", None)
        needed = 0 if base is None else positions_needed(base.max_positions, positions)
        if incremental_state is not None:
            positions, times[0] = positions[:, -1:], times[0][:, -1:]
        distinct, (own, *source) = as_indices(*times)
        blocks = self.positions.at(distinct, unchanged).split(self.tracks_per_block)
        table = None if base is None else base(needed, unchanged)[0]
        return self.feed.opened(blocks, table, own, source[0] if source else None, positions)

    def _times(self, tokens: Tensor) -> Tensor:
        """(batch, length), in positions; -1 at pads."""
        separator = self.dictionary.index(self.options.sentence_separator)
        if separator == self.dictionary.unk():
            raise UserError(
                f"--sentence-separator {self.options.sentence_separator} is not in the "
                "dictionary: give the symbol that ends the sentences of the corpus"
            )
        return sentence_times(tokens, self.padding_idx, separator, self.options.sentence_gap)

    def _limit(self) -> Optional[int]:
        """The shortest of the tables that end; None if none does."""
        base = getattr(self.embed_positions, "encoder", None)
        limits = [m.max_positions for m in (self.positions, base) if m is not None]
        return min((limit for limit in limits if limit is not None), default=None)

    def _limited(self, stock_limit: int) -> int:
        """Only a learned table limits the length; fairseq's default of 1024 does not."""
        limit = self._limit()
        return UNLIMITED if limit is None else min(limit, stock_limit)

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str):
        """Read also what fairseq's own Transformer wrote: its table has rows up to the pad."""
        for buffer in ("_float_tensor", "weights"):  # of older stock sinusoids
            state_dict.pop(f"{name}.embed_positions.{buffer}", None)
        stock = f"{name}.embed_positions.weight"
        if stock in state_dict:
            table = state_dict.pop(stock)[self.padding_idx + 1 :].unsqueeze(0)
            base = getattr(self.embed_positions, "encoder", None)
            place = "positions" if base is None else "embed_positions.encoder"
            state_dict[f"{name}.{place}.table"] = table
        return super().upgrade_state_dict_named(state_dict, name)


class FloaterEncoderStack(PositionedStack, TransformerEncoderBase):
    """fairseq's Transformer encoder with injected positions."""

    def __init__(self, cfg, dictionary, embed_tokens, return_fc: bool = False):
        super().__init__(cfg, dictionary, embed_tokens, return_fc)
        self._install_positions(cfg, "encoder")

    def build_encoder_layer(self, cfg):
        return wrap_layer(PositionedEncoderLayer(cfg, return_fc=self.return_fc), cfg)

    def forward(self, src_tokens: Tensor, *args, **kwargs) -> Dict[str, List[Tensor]]:
        if self.positions is None:
            return super().forward(src_tokens, *args, **kwargs)
        if self.timed:
            with self._fed_by_times(src_tokens):
                encoded = super().forward(src_tokens, *args, **kwargs)
            # For cross-attention, in a place of fairseq's that its beam search reorders.
            return {**encoded, "src_tokens": [self._times(src_tokens)]}
        positions = token_positions(src_tokens.eq(self.padding_idx))
        with self._fed(positions):
            return super().forward(src_tokens, *args, **kwargs)

    def max_positions(self) -> int:
        return self._limited(self.max_source_positions)


class FloaterDecoderStack(PositionedStack, TransformerDecoderBase):
    """fairseq's Transformer decoder with injected positions."""

    def __init__(
        self, cfg, dictionary, embed_tokens, no_encoder_attn: bool = False, output_projection=None
    ):
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn, output_projection)
        self._install_positions(cfg, "decoder")

    def build_decoder_layer(self, cfg, no_encoder_attn: bool = False):
        return wrap_layer(PositionedDecoderLayer(cfg, no_encoder_attn), cfg)

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Optional[dict] = None,
        *args,
        **kwargs,
    ) -> Tuple[Tensor, dict]:
        pads = prev_output_tokens.eq(self.padding_idx)
        if incremental_state is None and bool((pads[:, :-1] & ~pads[:, 1:]).any()):
            return self._extract_left_padded(prev_output_tokens, encoder_out, None, *args, **kwargs)
        forward = super().extract_features
        arguments = (prev_output_tokens, encoder_out, incremental_state, *args)
        if self.positions is None:
            return forward(*arguments, **kwargs)
        cross = self.tracks_per_block > len(SELF_ATTENTION) and encoder_out is not None
        if self.timed:
            source = encoder_out["src_tokens"][0] if cross else None
            with self._fed_by_times(prev_output_tokens, source, incremental_state):
                return forward(*arguments, **kwargs)
        if incremental_state and not torch.is_grad_enabled() and not bool(pads.any()):
            with self._fed_at(prev_output_tokens.size(1) - 1):
                return forward(*arguments, **kwargs)
        positions = token_positions(pads)
        source = None
        if cross:
            source = token_positions(encoder_out["encoder_padding_mask"][0])
        with self._fed(positions, source, incremental_state):
            return forward(*arguments, **kwargs)

    def _extract_left_padded(self, tokens: Tensor, *args, **kwargs) -> Tuple[Tensor, dict]:
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

    def max_positions(self) -> int:
        return self._limited(self.max_target_positions)
