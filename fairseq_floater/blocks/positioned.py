"""What all stacks share: they read tables once per pass and feed them to the blocks."""

import zlib
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
from fairseq.utils import get_incremental_state, set_incremental_state
from torch import Tensor, nn

from fairseq_floater.blocks.biases import is_plain
from fairseq_floater.blocks.feed import InputPositions, Pass, PositionFeed
from fairseq_floater.blocks.layers import PositionedLayer, name_dropouts
from fairseq_floater.blocks.places import (
    Places,
    Reading,
    one_if_alike,
    sentence_times,
    token_numbers,
)
from fairseq_floater.blocks.steps import DecodingSteps, FirstStep
from fairseq_floater.blocks.tracks import block_tracks
from fairseq_floater.encoders import (
    EncoderOptions,
    LearnedEncoder,
    PositionEncoder,
    SinusoidalEncoder,
    Use,
    build_position_encoder,
)
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import UserError

#: the argument of a block that takes the tracks of an encoder; see ``feed``
ARGUMENTS = {"position_encoder": "position_tracks", "base_encoder": "base_tracks"}

#: what a stack without a limit reports as its ``max_positions``
UNLIMITED = 10**9

#: the largest length limit that can be given, in positions
MOST_POSITIONS = 1_000_000


def require_bounded(name: str, limit: int) -> None:
    """Refuse a length limit for which fairseq could not make its sinusoids.

    Raises:
        UserError: naming the option, its value and the bound.
    """
    if limit > MOST_POSITIONS:
        raise UserError(
            f"{flag_name(name)} must be at most {MOST_POSITIONS:,}, got {limit}: leave it "
            "out, and there is no limit unless the positions have one"
        )


def shortest(*encoders: Optional[PositionEncoder]) -> Optional[int]:
    """Return the length of the shortest table, in positions; None if no table has an end."""
    limits = [encoder.max_positions for encoder in encoders if encoder is not None]
    return min((limit for limit in limits if limit is not None), default=None)


class PositionedStack:
    """A mixin for fairseq's stacks.

    Attributes:
        options: the position options.
        position_encoder: the encoder of the blocks' tracks; None if no block has positions of its
            own.
        base_encoder: the encoder of base positions within attention, beside which biases act; None
            if there are none.
        input_encoder: the encoder of the positions that the base model adds to its input, if these
            are kept.
        kept_layers: numbers of the blocks that are kept of a larger model; empty if all are.
        name: the stack's name in error messages.
        limit_name: the task's option that limits the length of the stack's input, and the stack's
            attribute in which fairseq keeps it.
        causal: whether a token sees only those before it.
        follows_source: whether tracks follow the source positions as well.
    """

    options: EncoderOptions
    position_encoder: Optional[PositionEncoder]
    base_encoder: Optional[PositionEncoder]
    kept_layers: Tuple[int, ...]
    name: str
    limit_name: str
    causal: bool
    follows_source: bool = False

    # Provided by fairseq's classes.
    dictionary: Any
    padding_idx: int
    training: bool
    layers: nn.ModuleList
    embed_positions: Any  # at first fairseq's, then what _install_positions replaces it with
    modules: Callable[[], Iterator[nn.Module]]

    def _install_positions(
        self, cfg: Any, side: Any, name: str, attentions: Tuple[str, ...], max_positions: int
    ) -> None:
        """Replace fairseq's input encoding and hook the blocks up to the tables.

        Args:
            cfg: fairseq's configuration, plus ``position_options``.
            side: the part of it that is about this stack.
            name: see the class.
            attentions: the attentions of each block.
            max_positions: length of a learned table.
        """
        self.name = name
        self.options = cfg.position_options
        self.kept_layers = kept_layers(side.layers_to_keep)
        self._attentions = attentions
        # Blocks that stay when others are removed keep their numbers, and so their trajectories.
        self._all_blocks = self.kept_layers or tuple(range(side.layers))
        for part in ARGUMENTS:
            use = self.options.uses.get(part)
            setattr(self, part, None if use is None else self._build(use, side, max_positions))
        self.feed = PositionFeed()
        layers = [m for m in self.modules() if isinstance(m, PositionedLayer)]
        self.feed.attach(layers, first=1 if self.additive else 0)
        self.embed_positions = self._input_positions(side)
        name_dropouts(self)
        self._positioned_layers = layers  # in a list: they are submodules already

    @property
    def additive(self) -> bool:
        """True if vectors are added to the inputs of blocks, in place of the base encoding."""
        return self.options.injection == "additive"

    @property
    def biased(self) -> bool:
        """True if biases are added to the projections of attention, beside the base encoding."""
        return self.options.injection == "bias"

    @property
    def input_encoder(self) -> Optional[PositionEncoder]:
        return getattr(self.embed_positions, "encoder", None)

    def encoders(self) -> List[PositionEncoder]:
        """Return all encoders that the stack reads."""
        found = (self.position_encoder, self.base_encoder, self.input_encoder)
        return [encoder for encoder in found if encoder is not None]

    def track_names(self, use: Use) -> Tuple[str, ...]:
        """Return the names of one block's tracks of one use, in order."""
        return block_tracks(self.options, use, self._attentions, self.causal)

    def blocks_of(self, use: Use) -> Tuple[int, ...]:
        """Return the numbers of the blocks that have tracks of one use.

        A stack without blocks has one set of additive vectors, at its input.
        """
        without_blocks = use.injection == "additive" and not self._all_blocks
        return (0,) if use.blocks == "input" or without_blocks else self._all_blocks

    def _build(self, use: Use, side: Any, max_positions: int) -> Optional[PositionEncoder]:
        """Build the encoder of the tracks of one use, block by block; None if there are none.

        Its initial values come from a generator of their own, seeded by the global seed, so that
        the rest of the model starts from the same weights with any position encoder.
        """
        tracks, blocks = self.track_names(use), self.blocks_of(use)
        if not tracks:
            return None
        return build_position_encoder(
            self.options,
            len(blocks) * len(tracks),
            side.embed_dim,
            use=use,
            heads=side.attention_heads,
            causal=self.causal,
            beside_input=self.options.keeps_input and self.embed_positions is not None,
            name=self.name,
            offset=self.padding_idx + 1,  # where fairseq's sinusoids count from
            max_positions=max_positions + self.options.position_shift,
            blocks=blocks if use.blocks == "all" else None,
            seed=(torch.initial_seed() + zlib.crc32(self.name.encode())) % 2**63,
        )

    def _input_positions(self, side: Any) -> Optional[nn.Module]:
        """Build what replaces ``embed_positions``."""
        if self.additive:
            return InputPositions(self.feed)
        if self.embed_positions is None or not self.options.keeps_input:
            return None
        offset = self.padding_idx + 1
        base: PositionEncoder
        if side.learned_pos:
            table = self.embed_positions.weight.detach()[offset:].unsqueeze(0)
            if self.options.position_shift >= table.size(1):
                raise UserError(
                    f"--position-shift {self.options.position_shift} leaves no room in a table of "
                    f"{table.size(1)} positions at the input: use a smaller shift or a longer table"
                )
            base = LearnedEncoder.from_table(table, name=self.name)
        else:
            base = SinusoidalEncoder(1, side.embed_dim, offset=offset, name=self.name)
        return InputPositions(self.feed, base)

    def places(self, tokens: Tensor, pads: Optional[Tensor] = None, vary: bool = True) -> Places:
        """Return where ``tokens`` (batch, length) stand.

        ``pads``, of the same shape, is true at pads. With ``vary``, training with --position-shift
        draws where each sentence starts.
        """
        pads = tokens.eq(self.padding_idx) if pads is None else pads
        shift = self._shift(tokens.size(0), tokens.device, vary)
        if not self.options.timed:
            numbers = token_numbers(one_if_alike(pads))
            return Places.shifted(numbers, numbers, shift)
        numbers = token_numbers(pads)
        symbol = self.options.sentence_separator
        separator = self.dictionary.index(symbol)
        if separator == self.dictionary.unk():
            raise UserError(
                f"--sentence-separator {symbol} is not in the dictionary: give the symbol that "
                "ends the sentences of the corpus"
            )
        gap = self.options.sentence_gap
        times = sentence_times(tokens, self.padding_idx, separator, gap)
        return Places.shifted(numbers, times, shift)

    def _shift(self, batch: int, device: torch.device, vary: bool) -> Union[int, Tensor]:
        """Return where each sentence starts: (batch, 1) in training, else one number for all."""
        most = self.options.position_shift
        if most and vary and self.training:
            return torch.randint(0, most + 1, (batch, 1), device=device)
        return most

    @contextmanager
    def opened(
        self, places: Union[Places, int], incremental_state: Optional[Dict[str, Any]] = None
    ) -> Iterator[None]:
        """Open the feed for one pass over tokens at ``places``, or for a step at one position.

        In incremental decoding only the last token of every row is fed, since fairseq cuts the
        tokens to it. From the second step on, parameters do not change, and keys and values of the
        source are kept.
        """
        later, first = self._is_later(incremental_state), None
        if later:
            first = self._first_step(incremental_state)
            if isinstance(places, Places):
                places = places._replace(source=None)
        elif incremental_state is not None:
            first = FirstStep(self._new_steps(), read_kept_tables=not torch.is_grad_enabled())
            set_incremental_state(self, incremental_state, "first_step", first)
        trusting = later and first is not None and first.read_kept_tables
        with self.feed.alone:
            with self._trusting() if trusting else nullcontext():
                current, step = self._read(places, first)
            with self.feed.opened(current), step:
                yield

    @contextmanager
    def _trusting(self) -> Iterator[None]:
        """Within the context, take parameters to be those of the step before, without comparing."""
        encoders = self.encoders()
        try:
            for encoder in encoders:
                encoder.trusted = True
            yield
        finally:
            for encoder in encoders:
                encoder.trusted = False

    def _read(
        self, places: Union[Places, int], first: Optional[FirstStep]
    ) -> Tuple[Pass, AbstractContextManager[None]]:
        """Return what is fed in a pass, and a context for what else acts in it: a step's biases.

        ``first`` is the first step of a decoding; None in other passes.
        """
        steps = None if first is None else first.steps
        last_only = first is not None
        read = partial(Reading.of, last_only=last_only, shift=self.options.position_shift)
        reading = at_input = read(places, shortest(self.position_encoder, self.base_encoder))
        if isinstance(places, Places) and self.input_encoder is not None:
            # Its table may be shorter than the source, which the blocks read.
            at_input = read(places.at_numbers(), shortest(self.input_encoder))
        step: AbstractContextManager[None] = nullcontext()
        parts = list(ARGUMENTS)
        if steps is not None and reading.rows.tokens is None:
            assert self.position_encoder is not None
            step = steps.at(reading.vectors(self.position_encoder))
            parts.remove("position_encoder")
        blocks = self._block_arguments(parts, reading)
        return self._pass(reading, at_input, blocks), step

    def _new_steps(self) -> Optional[DecodingSteps]:
        """Return what a new decoding's steps share; None if biases act as in other passes."""
        if torch.is_grad_enabled() or self.options.timed or not self.biased:
            return None
        blocks = self.blocks_of(self.options.uses["position_encoder"])
        layers = self._positioned_layers[: len(blocks)]
        attentions = [found for layer in layers for found in layer.biased_attentions()]
        projections = [projection for found in attentions for projection in found.projections]
        return DecodingSteps(attentions) if attentions and all(map(is_plain, projections)) else None

    def _pass(self, reading: Reading, at_input: Reading, blocks: List[Dict[str, Any]]) -> Pass:
        """Return what the feed serves: arguments for the ``blocks``, and vectors for the input."""
        rows = reading.rows.length_first()
        if self.additive:
            assert self.position_encoder is not None
            tracks = (
                blocks[0]["position_tracks"] if blocks else reading.vectors(self.position_encoder)
            )
            return Pass(blocks, rows, tracks[0], reading.rows.tokens)
        input, input_rows = None, None
        if self.input_encoder is not None:
            input, input_rows = at_input.vectors(self.input_encoder)[0], at_input.rows.tokens
        return Pass(blocks, rows.without_pads(), input, input_rows)

    def _block_arguments(self, parts: Sequence[str], reading: Reading) -> List[Dict[str, Any]]:
        """Return each block's arguments for a pass (see ``feed``), of the encoders in ``parts``."""
        arguments: List[Dict[str, Any]] = [{} for _ in self._all_blocks]
        for part in parts:
            encoder = getattr(self, part)
            if encoder is None or not arguments:
                continue
            acting = self._positioned_layers[0].forms.get(part)
            if acting is None:  # at the input of blocks
                table = reading.vectors(encoder)
            else:
                table = acting.form.read(encoder, reading)
            per_block = len(table) // len(self.blocks_of(self.options.uses[part]))
            for block, tracks in zip(arguments, table.split(per_block)):
                block[ARGUMENTS[part]] = tracks
        return arguments

    def _is_later(self, incremental_state: Optional[Dict[str, Any]]) -> bool:
        """True if this stack has already made a step of the decoding, and kept its keys."""
        if not incremental_state or not self._positioned_layers:
            return False
        attention = self._positioned_layers[0].self_attn
        return bool(attention._get_input_buffer(incremental_state))

    def _first_step(self, incremental_state: Optional[Dict[str, Any]]) -> FirstStep:
        """Return what is known of the first step of a decoding."""
        if not incremental_state:
            return FirstStep()
        return get_incremental_state(self, incremental_state, "first_step") or FirstStep()

    def source_limit(self) -> int:
        """Return how many source tokens it has vectors for, in attentions that read these."""
        encoders = (self.position_encoder, self.base_encoder) if self.follows_source else ()
        limit = shortest(*encoders)
        return UNLIMITED if limit is None else limit - self.options.position_shift

    def max_positions(self) -> int:
        """Return the limit: only a learned table sets one; fairseq's default of 1024 does not."""
        limit = shortest(*self.encoders())
        if limit is None:
            return UNLIMITED
        return min(limit - self.options.position_shift, getattr(self, self.limit_name))

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> Any:
        """Also read what fairseq's own Transformer wrote, whose table has rows up to the pad."""
        for buffer in ("_float_tensor", "weights"):  # of older stock sinusoids
            state_dict.pop(f"{name}.embed_positions.{buffer}", None)
        stock = f"{name}.embed_positions.weight"
        if stock in state_dict:
            table = state_dict.pop(stock)[self.padding_idx + 1 :].unsqueeze(0)
            place = "embed_positions.encoder" if self.input_encoder else "position_encoder"
            state_dict[f"{name}.{place}.table"] = table
        return super().upgrade_state_dict_named(state_dict, name)  # type: ignore[misc]  # a mixin


def kept_layers(given: Union[None, str, List[int]]) -> Tuple[int, ...]:
    """Return the numbers of the blocks in ``--encoder-layers-to-keep``, from 0; none if all stay.

    The command line gives a list, the rest of fairseq a string.
    """
    numbers = given.split(",") if isinstance(given, str) else given
    return tuple(sorted(int(number) for number in numbers or () if number != ""))
