"""The positions of a model, by the options in its checkpoint, whichever program wrote them."""

from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Tuple

from fairseq_floater.encoders import KINDS, WITHIN_ATTENTION, EncoderOptions, Use
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.models.types import as_declared
from fairseq_floater.training.save_folder import options_in


@dataclass(frozen=True)
class Within:
    """Positions within attention, other than biases.

    Attributes:
        use: their kind, their form, and where they act.
        defined: each option that defines their parameters or angles, as a flag with its value.
    """

    use: Use
    defined: Tuple[str, ...]

    @classmethod
    def of(cls, use: Use, options: EncoderOptions) -> "Within":
        names = use.encoder_class.defining(options)
        return cls(use, tuple(f"{flag_name(name)} {getattr(options, name)}" for name in names))

    def __str__(self) -> str:
        encoder, form, blocks, attention = self.use
        name = encoder.kind if form == encoder.injections[0] else f"{encoder.kind} {form}"
        where = [] if attention == "self" else [f"in {attention} attentions"]
        where += [] if blocks == "all" else ["at the first block"]
        return ", ".join([name, *self.defined, *where])


@dataclass(frozen=True)
class Positions:
    """The positions of one stack.

    Attributes:
        at_input: what is added to the input; None for nothing.
        within: those within attention, apart from biases; None for none.
        biases: the kind of the biases of the projections; None for none.
    """

    at_input: Optional[str]
    within: Optional[Within]
    biases: Optional[str]


def model_options(state: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the model's options in a fairseq checkpoint of any age; empty if there are none."""
    return options_in(state, "model")


def task_options(state: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the task's options in a fairseq checkpoint of any age; empty if there are none."""
    return options_in(state, "task")


def position_options(options: Mapping[str, Any]) -> Optional[EncoderOptions]:
    """Return the position options among ``options``; None for a stock model."""
    if options.get("position_encoder") not in KINDS:
        return None
    return EncoderOptions(**as_declared(options, EncoderOptions))


def positions_of(options: Mapping[str, Any], stack: str) -> Positions:
    """Return the positions of a model with these options, in the stack of this name."""
    positions = position_options(options)
    if positions is None:
        return Positions(_stock_input(options, stack), None, None)
    chosen = positions.chosen
    at_input = None
    if positions.injection == "additive":
        at_depth = " at all blocks" if positions.position_blocks == "all" else ""
        at_input = f"{positions.encoder_class.kind}{at_depth}"
    elif positions.keeps_input and positions.base_positions in ("sinusoidal", "learned", "none"):
        at_input = None if positions.base_positions == "none" else positions.base_positions
    elif positions.keeps_input:
        at_input = _stock_input(options, stack)
    acts_within = chosen is not None and chosen.injection in WITHIN_ATTENTION
    within = chosen if acts_within else positions.beneath
    biases = positions.encoder_class.kind if positions.injection == "bias" else None
    return Positions(at_input, within and Within.of(within, positions), biases)


def _stock_input(options: Mapping[str, Any], stack: str) -> Optional[str]:
    """Return the positions that fairseq's own options add to the input of a stack."""
    if options.get("no_token_positional_embeddings"):
        return None
    # fairseq fills this in when it builds a RoBERTa.
    learned = options.get(f"{stack}_learned_pos", names_roberta(options))
    return "learned" if learned else "sinusoidal"


def names_roberta(options: Mapping[str, Any]) -> bool:
    """True if the architecture in ``options`` is one of RoBERTa's, fairseq's or ours."""
    return any("roberta" in str(options.get(name)) for name in ("_name", "arch"))


def departed_from(options: EncoderOptions) -> Optional[Within]:
    """Return the peer that a new model starts from; None without one."""
    peer = options.encoder_class.departs_from(options)
    if peer is None:
        return None
    as_peer = replace(options, **{"position_injection": None, **peer})
    assert as_peer.chosen is not None
    return Within.of(as_peer.chosen, as_peer)
