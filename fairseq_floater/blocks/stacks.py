"""Encoder and decoder that compute their trajectories once per pass and feed them to the blocks."""

import zlib
from contextlib import AbstractContextManager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from torch import Tensor, nn

from fairseq_floater.blocks.biases import own_biases
from fairseq_floater.blocks.feed import InputPositions, Pass, PositionFeed
from fairseq_floater.blocks.layers import (
    PositionedDecoderLayer,
    PositionedEncoderLayer,
    PositionedLayer,
    decoder_attentions,
    wrap_layer,
)
from fairseq_floater.blocks.places import (
    Places,
    Rows,
    read_table,
    sentence_times,
    token_numbers,
)
from fairseq_floater.blocks.tracks import CROSS, JOINT, SELF, block_tracks
from fairseq_floater.encoders import (
    LearnedEncoder,
    PositionEncoder,
    SinusoidalEncoder,
    build_position_encoder,
)
from fairseq_floater.errors import UserError

#: what a stack without a limit reports as its ``max_positions``
UNLIMITED = 10**9


class PositionedStack:
    """What all stacks of blocks share; mixed into fairseq's classes.

    Attributes:
        position_encoder: of the blocks' tracks; None where no block has positions of its own.
        tracks: names of one block's tracks, in order.
        base_encoder: of the input encoding that biases are added beside; None without one.
        blocks: numbers of the blocks that have tracks, from 0.
        kept_layers: numbers of the blocks that stay of a larger model; empty where all do.
        name: for error messages.
        limit_name: the task's option that limits the length of the stack's input, and the stack's
            attribute in which fairseq keeps it.
    """

    position_encoder: Optional[PositionEncoder]
    tracks: Tuple[str, ...]
    blocks: Tuple[int, ...]
    kept_layers: Tuple[int, ...]
    name: str
    limit_name: str

    # What fairseq's classes bring.
    dictionary: Any
    padding_idx: int
    layers: nn.ModuleList
    embed_positions: Any  # at first theirs, then what _install_positions puts in its place
    modules: Callable[[], Iterator[nn.Module]]

    def _install_positions(
        self, cfg: Any, side: Any, name: str, attentions: Tuple[str, ...], max_positions: int
    ) -> None:
        """Replace fairseq's input encoding and hook the blocks up to the trajectories.

        Args:
            cfg: fairseq's configuration with ``position_options`` on top.
            side: the part of it that is about this stack.
            name: see the class.
            attentions: the attentions of each block.
            max_positions: length of a learned table.
        """
        self.name = name
        self.options = cfg.position_options
        self.biased = self.options.injection == "bias"
        self.tracks = block_tracks(self.options, attentions)
        self.kept_layers = kept_layers(side.layers_to_keep)
        everywhere = self.options.position_blocks == "all"
        # Blocks that stay when others are taken out keep their numbers, and so their trajectories.
        self.blocks = (self.kept_layers or tuple(range(side.layers))) if everywhere else (0,)
        self.position_encoder = self._build_position_encoder(side.embed_dim, max_positions)
        self.feed = PositionFeed()
        layers = [m for m in self.modules() if isinstance(m, PositionedLayer)]
        self.feed.attach(layers, first=0 if self.biased else 1)
        self.embed_positions = self._input_positions(side)
        self._positioned_layers = layers  # in a list: they are submodules already
        self._own_biases: Optional[Tensor] = None  # kept from step to step of one decoding

    def _projections(self) -> List[nn.Linear]:
        """The projections that the tracks are for, in the order of the tracks."""
        projections = [p for layer in self._positioned_layers for p in layer.projections()]
        return projections[: len(self.blocks) * len(self.tracks)]

    def _build_position_encoder(self, dim: int, max_positions: int) -> Optional[PositionEncoder]:
        """The encoder of the tracks, block by block.

        Its initial values come from a generator of their own, seeded by the global seed, so that
        the rest of the model starts from the same weights whatever the position encoder.
        """
        if not self.tracks:
            return None
        return build_position_encoder(
            self.options,
            len(self.blocks) * len(self.tracks),
            dim,
            name=self.name,
            offset=self.padding_idx + 1,  # where fairseq's sinusoids count from
            max_positions=max_positions,
            blocks=self.blocks if self.options.position_blocks == "all" else None,
            seed=(torch.initial_seed() + zlib.crc32(self.name.encode())) % 2**63,
        )

    def _input_positions(self, side: Any) -> Optional[nn.Module]:
        """What takes the place of ``embed_positions``."""
        if self.options.injection is None:
            return None
        if not self.biased:
            return InputPositions(self.feed)
        if self.embed_positions is None:
            return None
        offset = self.padding_idx + 1
        base: PositionEncoder
        if side.learned_pos:
            table = self.embed_positions.weight.detach()[offset:].unsqueeze(0)
            base = LearnedEncoder.from_table(table, name=self.name)
        else:
            base = SinusoidalEncoder(1, side.embed_dim, offset=offset, name=self.name)
        return InputPositions(self.feed, base)

    @property
    def base_encoder(self) -> Optional[PositionEncoder]:
        return getattr(self.embed_positions, "encoder", None)

    def places(self, tokens: Tensor, pads: Optional[Tensor] = None) -> Places:
        """Where ``tokens`` (batch, length) stand; ``pads`` of the same shape are true at pads."""
        numbers = token_numbers(tokens.eq(self.padding_idx) if pads is None else pads)
        if not self.options.timed:
            return Places(numbers, numbers)
        symbol = self.options.sentence_separator
        separator = self.dictionary.index(symbol)
        if separator == self.dictionary.unk():
            raise UserError(
                f"--sentence-separator {symbol} is not in the dictionary: give the symbol that "
                "ends the sentences of the corpus"
            )
        gap = self.options.sentence_gap
        return Places(numbers, sentence_times(tokens, self.padding_idx, separator, gap))

    def opened(
        self, places: Union[Places, int], incremental_state: Optional[Dict[str, Any]] = None
    ) -> AbstractContextManager[None]:
        """Open the feed for one pass over tokens at ``places``, or for a step at one position.

        In incremental decoding only the last token of every row is fed, as fairseq cuts the
        tokens. From its second step on parameters stay as they are, and keys and values of the
        source are kept.
        """
        decoding, unchanged = incremental_state is not None, self._is_later(incremental_state)
        if not unchanged:
            self._own_biases = None
        elif isinstance(places, Places):
            places = places._replace(source=None)
        blocks: Tuple[Tensor, ...] = ()
        rows = base_rows = Rows(None)
        base = None
        if self.position_encoder is not None:
            limit = self._limit()
            table, rows = read_table(self.position_encoder, places, limit, decoding, unchanged)
            if self.biased and isinstance(places, int):
                if self._own_biases is None:
                    self._own_biases = own_biases(self._projections())
                table = (table[:, 0] + self._own_biases).to(self._own_biases.dtype)
            blocks = table.split(len(self.tracks))
            base, base_rows = table[0], rows
        if self.biased:
            rows = rows.without_pads()
            base, base_rows = self._base_table(places, decoding, unchanged)
        return self.feed.opened(Pass(blocks, rows, base, base_rows))

    def _is_later(self, incremental_state: Optional[Dict[str, Any]]) -> bool:
        """Whether this stack has made a step of the decoding already, and kept its keys."""
        if not incremental_state or not self._positioned_layers:
            return False
        attention = self._positioned_layers[0].self_attn
        return bool(attention._get_input_buffer(incremental_state))

    def _base_table(
        self, places: Union[Places, int], decoding: bool, unchanged: bool
    ) -> Tuple[Optional[Tensor], Rows]:
        """The base encoding (rows, dim), at token numbers whatever the times, and its rows."""
        encoder = self.base_encoder
        if encoder is None:
            return None, Rows(None)
        if isinstance(places, Places):
            places = places._replace(own=places.numbers, source=None)
        table, rows = read_table(encoder, places, self._limit(), decoding, unchanged)
        return table[0], rows

    def _limit(self) -> Optional[int]:
        """The shortest of the tables that end; None if none does."""
        encoders = [e for e in (self.position_encoder, self.base_encoder) if e is not None]
        limits = [e.max_positions for e in encoders if e.max_positions is not None]
        return min(limits, default=None)

    def max_positions(self) -> int:
        """Only a learned table limits the length; fairseq's default of 1024 does not."""
        limit = self._limit()
        return UNLIMITED if limit is None else min(limit, getattr(self, self.limit_name))

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> Any:
        """Read also what fairseq's own Transformer wrote: its table has rows up to the pad."""
        for buffer in ("_float_tensor", "weights"):  # of older stock sinusoids
            state_dict.pop(f"{name}.embed_positions.{buffer}", None)
        stock = f"{name}.embed_positions.weight"
        if stock in state_dict:
            table = state_dict.pop(stock)[self.padding_idx + 1 :].unsqueeze(0)
            own = self.base_encoder is None
            place = "position_encoder" if own else "embed_positions.encoder"
            state_dict[f"{name}.{place}.table"] = table
        return super().upgrade_state_dict_named(state_dict, name)  # type: ignore[misc]  # a mixin


def kept_layers(given: Union[None, str, List[int]]) -> Tuple[int, ...]:
    """Numbers of the blocks in ``--encoder-layers-to-keep``, from 0; none where all stay.

    The command line gives a list, the rest of fairseq text.
    """
    numbers = given.split(",") if isinstance(given, str) else given
    return tuple(sorted(int(number) for number in numbers or () if number != ""))


class FloaterEncoderStack(PositionedStack, TransformerEncoderBase):
    """fairseq's Transformer encoder with injected positions."""

    limit_name = "max_source_positions"

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: Any, return_fc: bool = False):
        super().__init__(cfg, dictionary, embed_tokens, return_fc)
        self._install_positions(cfg, cfg.encoder, "encoder", (SELF,), cfg.max_source_positions)

    def build_encoder_layer(self, cfg: Any) -> nn.Module:
        return wrap_layer(PositionedEncoderLayer(cfg, return_fc=self.return_fc), cfg)

    def forward(self, src_tokens: Tensor, *args: Any, **kwargs: Any) -> Dict[str, List[Tensor]]:
        places = self.places(src_tokens)
        with self.opened(places):
            encoded = super().forward(src_tokens, *args, **kwargs)
        # For cross-attention, where token numbers do not say it all.
        return {**encoded, "places": [places.own]} if self.options.timed else encoded

    def reorder_encoder_out(
        self, encoder_out: Dict[str, List[Tensor]], new_order: Tensor
    ) -> Dict[str, List[Tensor]]:
        reordered = super().reorder_encoder_out(encoder_out, new_order)
        for own in encoder_out.get("places", ()):
            reordered["places"] = [own.index_select(0, new_order)]
        return reordered


class FloaterDecoderStack(PositionedStack, TransformerDecoderBase):
    """fairseq's Transformer decoder with injected positions."""

    limit_name = "max_target_positions"

    def __init__(
        self,
        cfg: Any,
        dictionary: Any,
        embed_tokens: Any,
        no_encoder_attn: bool = False,
        output_projection: Optional[nn.Module] = None,
    ):
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn, output_projection)
        attentions = decoder_attentions(cfg, no_encoder_attn)
        limit = cfg.max_target_positions
        self._install_positions(cfg, cfg.decoder, "decoder", attentions, limit)
        slices = [m.slices for m in self.modules() if isinstance(m, PositionedLayer)]
        #: whether tracks follow the source positions, too
        self.follows_source = any(CROSS in s or JOINT in s for s in slices)

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
        if incremental_state is None and bool((pads[:, :-1] & ~pads[:, 1:]).any()):
            return self._extract_left_padded(prev_output_tokens, encoder_out, None, *args, **kwargs)
        places = self._target_places(prev_output_tokens, pads, encoder_out, incremental_state)
        with self.opened(places, incremental_state):
            arguments = (prev_output_tokens, encoder_out, incremental_state, *args)
            return super().extract_features(*arguments, **kwargs)

    def _target_places(
        self,
        tokens: Tensor,
        pads: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]],
        incremental_state: Optional[Dict[str, Any]],
    ) -> Union[Places, int]:
        """Where the tokens (batch, length) stand, and the source's where tracks follow them."""
        if (
            not self.options.timed
            and not torch.is_grad_enabled()  # the sum of table and biases is for inference
            and self._is_later(incremental_state)
            and not bool(pads.any())
        ):
            # Every row decodes the same position, and one vector is for all of them.
            return tokens.size(1) - 1
        places = self.places(tokens, pads)
        if self.follows_source and encoder_out is not None:
            places = places._replace(source=_source_places(encoder_out))
        return places

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


def _source_places(encoder_out: Dict[str, List[Tensor]]) -> Tensor:
    """Where the source tokens stand, (batch, source length): as our encoder says, or by number."""
    if encoder_out.get("places"):
        return encoder_out["places"][0]
    return token_numbers(encoder_out["encoder_padding_mask"][0])
