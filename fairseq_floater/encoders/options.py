"""The options of the position encoders: which kind, where its tracks go, and each kind's own."""

from dataclasses import dataclass, fields
from typing import Any, Callable, Collection, Dict, Iterator, NamedTuple, Optional, Tuple, Type

from fairseq_floater.encoders.alibi import AlibiEncoder, AlibiOptions
from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.encoders.fire import FireEncoder, FireOptions
from fairseq_floater.encoders.flags import (
    NON_NEGATIVE,
    Range,
    SharingOptions,
    TimesOptions,
    check_values,
    flag,
)
from fairseq_floater.encoders.floater import FloaterEncoder, FloaterOptions
from fairseq_floater.encoders.fourier import FourierEncoder, FourierOptions
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.none import NoPositions
from fairseq_floater.encoders.relative_bias import RelativeBiasEncoder, RelativeBiasOptions
from fairseq_floater.encoders.rnn import RNNEncoder, RNNOptions
from fairseq_floater.encoders.rotary import RotaryEncoder
from fairseq_floater.encoders.shaw import ShawEncoder, ShawOptions
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder
from fairseq_floater.errors import UserError

#: every kind of position encoder, by its name
KINDS: Dict[str, Type[PositionEncoder]] = {
    encoder.kind: encoder
    for encoder in (
        FloaterEncoder,
        SinusoidalEncoder,
        LearnedEncoder,
        RNNEncoder,
        RotaryEncoder,
        RelativeBiasEncoder,
        AlibiEncoder,
        ShawEncoder,
        FireEncoder,
        FourierEncoder,
        NoPositions,
    )
}

#: injections that act inside attention without biases of its projections
WITHIN_ATTENTION = ("rotation", "scores", "relative")


class Names(Collection[str]):
    """Names of kinds, looked up each time: ``KINDS`` also gets kinds from outside the package."""

    def __init__(self, tell: Callable[[], Tuple[str, ...]]):
        self.tell = tell

    def __iter__(self) -> Iterator[str]:
        return iter(self.tell())

    def __contains__(self, name: object) -> bool:
        return name in self.tell()

    def __len__(self) -> int:
        return len(self.tell())


def _within_attention() -> Tuple[str, ...]:
    return tuple(
        name for name, kind in KINDS.items() if {*kind.injections[:1]} & {*WITHIN_ATTENTION}
    )


#: kinds whose first injection is within attention: FLOATER's biases can stand on any of them
PEERS = Names(_within_attention)

#: the positions that biases can stand beside
BASES = Names(lambda: ("sinusoidal", "learned", *PEERS, "none"))


class Use(NamedTuple):
    """One use of a kind of position encoder in a model.

    Attributes:
        encoder_class: the kind.
        injection: how its tracks act, see ``PositionEncoder.injections``.
        blocks: ``all``, or ``input`` for the first only.
        attention: the attentions they act in, ``self``, ``cross`` or ``both``.
    """

    encoder_class: Type[PositionEncoder]
    injection: str
    blocks: str
    attention: str

    @property
    def absolute(self) -> bool:
        """Whether anything changes if all positions are moved by the same amount."""
        if self.injection == "rotation":
            return not self.encoder_class.even_rotation or self.attention != "self"
        return self.injection in ("bias", "additive")


@dataclass
class EncoderOptions(
    FloaterOptions,
    RNNOptions,
    RelativeBiasOptions,
    AlibiOptions,
    ShawOptions,
    FireOptions,
    FourierOptions,
):
    """All options, in one typed dataclass. A kind reads those that its ``Options`` declares."""

    position_encoder: str = flag(
        "floater",
        "where positions come from: a learned differential equation, sinusoids, a learned table, "
        "a recurrent cell, rotary angles, T5's relative bias, ALiBi, the vectors of Shaw et al., "
        "FIRE, learned Fourier features, or nowhere",
        choices=KINDS,
    )
    position_blocks: str = flag(
        "all",
        "where positions act: in all blocks, or in the first only (additive vectors: at its input)",
        choices=("all", "input"),
    )
    position_injection: Optional[str] = flag(
        None,
        "bias: keep the base positions and add a bias to every attention's queries, keys and "
        "values (default for floater, fourier); additive: add a vector to the block's input, in "
        "place of the base encoding (default for sinusoidal, learned, rnn); rotation: turn queries "
        "and keys (rotary, floater); scores: add to each head's logits by distance (relative-bias, "
        "alibi, fire, floater); relative: add vectors by distance to keys and values (shaw)",
        choices=("bias", "additive", *WITHIN_ATTENTION),
    )
    position_attention: Optional[str] = flag(
        None,
        "which attentions get positions of their own: self-attention (default for rotation, scores "
        "and relative), cross-attention of the decoder, or both (default for bias)",
        choices=("both", "self", "cross"),
    )
    base_positions: Optional[str] = flag(
        None,
        "what biases stand beside (--position-injection bias): positions at the input, by default "
        "those of the base model, or positions within self-attention",
        choices=BASES,
    )
    keep_input_positions: bool = flag(
        False,
        "keep the base model's positions at the input beside those within attention, which "
        "otherwise take their place (rotary, relative-bias, alibi, shaw, fire, and floater as "
        "rotation or scores)",
    )
    extend_base_positions: bool = flag(
        False,
        "if a learned table of a trained model is shorter than this model's, continue it with its "
        "last row; beyond its end all positions then look alike, unless positions of another kind "
        "stand beside it",
    )
    position_shift: int = flag(
        0,
        "K of SHAPE: in training, each sentence's positions start at a random one of 0..K, drawn "
        "separately for source and target; otherwise they start at K. FIRE's still count from the "
        "sentence's first token",
        range=NON_NEGATIVE,
    )
    attention_log_scale: Optional[float] = flag(
        None,
        "multiply each product of a query and a key by log n / log N, where n is the number of "
        "keys that the query sees and N is this value, such as the length of training sentences",
        range=Range("> 1", lambda length: 1 < length < float("inf")),
    )

    @property
    def encoder_class(self) -> Type[PositionEncoder]:
        """The class of ``--position-encoder``, which says what this kind can do."""
        return KINDS[self.position_encoder]

    @property
    def injection(self) -> Optional[str]:
        """The injection in force; None where there are no positions."""
        return self.position_injection or next(iter(self.encoder_class.injections), None)

    @property
    def attention(self) -> str:
        """The attentions that get positions."""
        return self.position_attention or ("both" if self.injection == "bias" else "self")

    @property
    def chosen(self) -> Optional[Use]:
        """The use of ``position_encoder``; None for no positions."""
        if self.injection is None:
            return None
        return Use(self.encoder_class, self.injection, self.position_blocks, self.attention)

    @property
    def beneath(self) -> Optional[Use]:
        """The use of ``base_positions`` within attention; None where they are at the input."""
        name = self.base_positions
        if name is None or name not in PEERS:
            return None
        kind = KINDS[name]
        return Use(kind, kind.injections[0], "all", "self")

    @property
    def uses(self) -> Dict[str, Use]:
        """All uses, by the name of the part of a stack that holds the encoder."""
        uses = {"position_encoder": self.chosen, "base_encoder": self.beneath}
        return {name: use for name, use in uses.items() if use is not None}

    @property
    def keeps_input(self) -> bool:
        """Whether the base model's positions stay at the input, if it has any."""
        if self.injection == "bias":
            return self.keep_input_positions or self.beneath is None
        return self.injection in WITHIN_ATTENTION and self.keep_input_positions

    @property
    def has_dynamics(self) -> bool:
        """Whether tracks follow dynamics, which stacks can share."""
        return issubclass(self.encoder_class.Options, SharingOptions)

    @property
    def shares_dynamics(self) -> bool:
        """Whether all stacks share one dynamics."""
        return self.has_dynamics and self.share_dynamics == "all"

    @property
    def timed(self) -> bool:
        """Whether tokens stand at other times than their numbers."""
        return self.position_times != "tokens"

    def where(self) -> Dict[str, Any]:
        """Return the options in force that say where positions go."""
        if self.injection is None:
            return self._given("position_shift", "attention_log_scale")
        where = {"position_blocks": self.position_blocks, "position_injection": self.injection}
        if self.injection != "additive":
            where["position_attention"] = self.attention
        more = ("base_positions", "keep_input_positions", "position_shift", "attention_log_scale")
        return {**where, **self._given(*more)}

    def _given(self, *names: str) -> Dict[str, Any]:
        """Return those of the named options that are set."""
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def read_by_kind(self) -> Dict[str, Any]:
        """Return the options that the kinds in use read, with their values."""
        classes = dict.fromkeys(use.encoder_class for use in self.uses.values())
        read: Dict[str, Any] = {}
        for kind in classes or [self.encoder_class]:
            unread = kind.Options.unread(self)
            names = [declared.name for declared in fields(kind.Options)]
            read |= {name: getattr(self, name) for name in names if name not in unread}
        return read

    def check(self) -> None:
        """Check every range and combination.

        Raises:
            UserError: naming the flag, its value and the fix.
        """
        check_values(self)
        for kind in KINDS.values():
            kind.Options.check(self)
        check_combinations(self)


#: what models did before an option existed, where that is not the default of the option
FORMERLY: Dict[str, Any] = {
    f.name: f.metadata["formerly"] for f in fields(EncoderOptions) if "formerly" in f.metadata
}


def check_combinations(options: EncoderOptions) -> None:
    """Check combinations. Raises ``UserError``, naming the flags, their values and the fix."""
    _check_injection(options)
    _check_base(options)
    _check_times(options)
    _check_log_scale(options)
    absolute = options.keeps_input or any(use.absolute for use in options.uses.values())
    if options.position_shift and not absolute:
        raise UserError(
            f"--position-shift {options.position_shift} moves sentences as a whole, which "
            f"--position-encoder {options.position_encoder} does not see: leave it out"
        )


#: what each injection needs from an encoder
_INJECTED = {
    "bias": "learned biases",
    "additive": "vectors to add",
    "rotation": "angles",
    "scores": "scores",
    "relative": "vectors by distance",
}


def _check_injection(options: EncoderOptions) -> None:
    known, encoder = options.encoder_class.injections, options.position_encoder
    if options.position_injection is not None and not known:
        raise UserError(
            f"--position-encoder {encoder} has nothing to inject: leave out --position-injection"
        )
    if options.injection is not None and options.injection not in known:
        able = [name for name, kind in KINDS.items() if options.injection in kind.injections]
        raise UserError(
            f"--position-encoder {encoder} has no {_INJECTED[options.injection]} for "
            f"--position-injection {options.injection}: use {known[0]}, or choose "
            f"--position-encoder from {', '.join(able)}"
        )
    if options.position_attention is None:
        return
    if options.injection not in ("bias", "rotation"):
        kinds = "the biases of --position-injection bias and the angles of rotation"
        raise UserError(
            f"--position-attention {options.position_attention} chooses among {kinds}, which are "
            "not in use: leave it out"
        )


def _check_base(options: EncoderOptions) -> None:
    if options.base_positions is not None and options.injection != "bias":
        raise UserError(
            f"--base-positions {options.base_positions} needs biases to stand beside, but "
            f"--position-encoder {options.position_encoder} has none: leave it out, or use "
            "--position-injection bias with floater, fourier, rnn or learned"
        )
    within = options.beneath is not None or options.injection in WITHIN_ATTENTION
    if options.keep_input_positions and not within:
        raise UserError(
            "--keep-input-positions is for positions within attention, and there are none: leave "
            "it out"
        )


def _check_log_scale(options: EncoderOptions) -> None:
    """If heads see different numbers of keys, there is no n that holds for all of them."""
    alibi = any(issubclass(use.encoder_class, AlibiEncoder) for use in options.uses.values())
    if options.attention_log_scale is not None and alibi and options.alibi_form == "nonsymmetric":
        raise UserError(
            f"--attention-log-scale {options.attention_log_scale:g} counts the keys that all "
            "heads see, which differ with --alibi-form nonsymmetric: use --alibi-form symmetric or "
            "learned"
        )


def _check_times(options: EncoderOptions) -> None:
    """Only some kinds have values between whole positions."""
    if not options.timed:
        return
    name = options.position_encoder
    if not issubclass(options.encoder_class.Options, TimesOptions):
        timed = sorted(kind for kind in KINDS if issubclass(KINDS[kind].Options, TimesOptions))
        raise UserError(
            f"--position-encoder {name} has whole positions only, and cannot be combined with "
            f"--position-times {options.position_times}: use {', '.join(timed[:-1])} or {timed[-1]}"
        )
    distances = {"scores", "relative"} & {use.injection for use in options.uses.values()}
    if distances:
        raise UserError(
            f"--position-times {options.position_times} moves tokens, but distances are counted in "
            "tokens: leave it out, or use an encoder without scores and relative vectors"
        )
