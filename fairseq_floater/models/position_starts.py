"""Where the positions of a model start when it continues a trained one.

A base model is fairseq's ``transformer`` or ``roberta``, or ours. Its own positions, at the input
or within attention, are kept (bias injection), or a table of the input becomes the first block's
vectors (learned ones, injected additively). Everything else that positions add starts at 0, so that
the first forward pass gives the base model's logits (paper, section 3.3). Other positions within
attention start with new values, in place of those at the input.
"""

import logging
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.options import PEERS
from fairseq_floater.encoders.sinusoidal import sinusoids
from fairseq_floater.models.description import Positions, departed_from, positions_of

logger = logging.getLogger(__name__)

#: positions at the input that fairseq's own models have
STOCK = ("sinusoidal", "learned")


def start_positions(
    stack: PositionedStack,
    prefix: str,
    weights: Dict[str, Tensor],
    options_there: Mapping[str, Any],
    options_here: Mapping[str, Any],
) -> List[str]:
    """Add to ``weights`` what a stack's positions start from, or return why that is impossible.

    | there                  | here                          | what becomes of it          |
    | ---------------------- | ----------------------------- | --------------------------- |
    | the same               | the same                      | kept                        |
    | at the input           | the same, and biases          | kept; biases start at 0     |
    | a peer                 | biases on that peer           | it is the base; biases at 0 |
    | at the input           | a learned table, additive     | the first block's vectors   |
    | none                   | any kind, additive            | starts at 0                 |
    | a peer                 | FLOATER that departs from it  | FLOATER's start             |
    | at the input, or none  | a peer, or biases on one      | the peer's initial values   |
    | at the input           | none                          | dropped; the log says so    |
    | all else               |                               | refused                     |
    """
    here = positions_of(options_here, stack.name)
    there = _positions_there(stack, prefix, weights, options_there, here)
    place = f"{prefix}.position_encoder."
    if there.within is not None and there.biases is None and here.biases is not None:
        _move(weights, place, f"{prefix}.base_encoder.")  # the only positions are now the base
    if there == Positions("learned", None, None) and not stack.additive:
        _move(weights, place, f"{prefix}.embed_positions.encoder.")  # our own table at the input
    new = None if any(key.startswith(place) for key in weights) else stack.position_encoder
    same = (there.at_input, there.within) == (here.at_input, here.within)
    if same:
        return _start_biases(stack, new, place, weights) if new and stack.biased else []
    if new and stack.additive and there.within is None and there.at_input in (None, *STOCK):
        return _start_additive(stack, new, prefix, weights, there, here)
    if there.within != here.within:
        return _start_within(stack, prefix, weights, there, here, options_there, options_here)
    if here == Positions(None, None, None) and there.biases is None and there.at_input in STOCK:
        _drop(weights, f"{prefix}.embed_positions.")
        logger.warning(
            f"the {stack.name} continues without positions; its {there.at_input} ones are dropped"
        )
        return []
    return [_other(stack.name, there.at_input, here.at_input, "at the input")]


def _positions_there(
    stack: PositionedStack,
    prefix: str,
    weights: Mapping[str, Tensor],
    options: Mapping[str, Any],
    here: Positions,
) -> Positions:
    """Return the positions of a checkpoint's stack, as far as its weights and options say."""
    ours = (f"{prefix}.position_encoder.", f"{prefix}.base_encoder.")
    has_own = any(key.startswith(ours) for key in weights)
    if not options and has_own:
        return here
    learned = not has_own and f"{prefix}.embed_positions.weight" in weights
    if options:
        there = positions_of(options, stack.name)
        return replace(there, at_input="learned") if learned else there
    return Positions("learned" if learned else here.at_input, None, None)


def _start_biases(
    stack: PositionedStack, encoder: PositionEncoder, place: str, weights: Dict[str, Tensor]
) -> List[str]:
    """Start biases at 0, beside positions that are kept."""
    if (start := encoder.state_without_effect()) is None:
        return [_cannot_vanish(stack.name, encoder)]
    _put(weights, place, start)
    return []


def _start_additive(
    stack: PositionedStack,
    encoder: PositionEncoder,
    prefix: str,
    weights: Dict[str, Tensor],
    there: Positions,
    here: Positions,
) -> List[str]:
    """Start vectors added to the inputs of blocks from the table of the base model's input."""
    if there.at_input is None and encoder.state_dict() and not encoder.output_parameters():
        return [_cannot_vanish(stack.name, encoder)]
    table = _take_base_table(stack, encoder, prefix, there.at_input, weights)
    if there.at_input == "learned" and table is None:
        return [f"it lacks the {stack.name}'s learned table of positions"]
    if (start := encoder.state_without_effect(table)) is None:
        return [_other(stack.name, there.at_input, here.at_input, "at the input")]
    _put(weights, f"{prefix}.position_encoder.", start)
    return []


def _start_within(
    stack: PositionedStack,
    prefix: str,
    weights: Dict[str, Tensor],
    there: Positions,
    here: Positions,
    options_there: Mapping[str, Any],
    options_here: Mapping[str, Any],
) -> List[str]:
    """Start new positions within attention if a model had none, or had what they start from.

    Those at the input are kept or dropped as the options say, which changes the logits; the log
    says so, as far as the model's weights and options tell what it had.
    """
    new = departed_from(stack.options) == there.within
    if there.biases is not None or not (new or there.within is None):
        return [
            _other(stack.name, there.within, here.within, "within attention")
            + _how_to_keep(there, here)
        ]
    dropped = here.at_input is None and there.at_input in STOCK
    if there.at_input != here.at_input and not dropped:
        return [_other(stack.name, there.at_input, here.at_input, "at the input")]
    _drop(weights, f"{prefix}.position_encoder.")
    for part in ("position_encoder", "base_encoder"):
        encoder = getattr(stack, part)
        if encoder is None:
            continue
        state = {key: value.clone() for key, value in encoder.state_dict().items()}
        if part == "base_encoder" and state and options_here.get("freeze_base"):
            return [
                f"--freeze-base would freeze the {stack.name}'s new {here.within} positions at "
                "their initial values: train without it"
            ]
        if part == "position_encoder" and stack.biased:
            if (start := encoder.state_without_effect()) is None:
                return [_cannot_vanish(stack.name, encoder)]
            state = start
        _put(weights, f"{prefix}.{part}.", state)
    if dropped:
        _drop(weights, f"{prefix}.embed_positions.")
    if dropped or (options_there and there.within is None):
        fate = "dropped" if dropped else "kept"
        at_input = f"; those at the input ({there.at_input}) are {fate}" if there.at_input else ""
        started = f"the {stack.name} starts with {here.within} positions within attention"
        logger.warning(f"{started}{at_input}")
    return []


def _how_to_keep(there: Positions, here: Positions) -> str:
    """Return which option keeps the positions there beside biases; empty if none can."""
    if there.within is None or there.biases is not None or here.biases is None:
        return ""
    kept = there.within.use
    kind = kept.encoder_class.kind
    if kind not in PEERS or (kept.attention, kept.blocks) != ("self", "all"):
        return ""
    return f" (--base-positions {kind}, with its model's other options for it, keeps them)"


def _put(weights: Dict[str, Tensor], place: str, state: Mapping[str, Tensor]) -> None:
    weights.update({f"{place}{key}": value for key, value in state.items()})


def _drop(weights: Dict[str, Tensor], prefix: str) -> None:
    for key in [key for key in weights if key.startswith(prefix)]:
        del weights[key]


def _move(weights: Dict[str, Tensor], old: str, new: str) -> None:
    for key in [key for key in weights if key.startswith(old)]:
        weights[new + key[len(old) :]] = weights.pop(key)


def _cannot_vanish(name: str, encoder: PositionEncoder) -> str:
    kind = type(encoder).__name__
    return f"{kind} of the {name} has no state without effect: give it output_parameters"


def _other(name: str, there: Optional[object], here: Optional[object], where: str) -> str:
    return f"its {name} has {there or 'no'} positions {where}, this one {here or 'none'}"


def _take_base_table(
    stack: PositionedStack,
    encoder: PositionEncoder,
    prefix: str,
    there: Optional[str],
    weights: Dict[str, Tensor],
) -> Optional[Tensor]:
    """Take out the vectors (positions, dim) that a base model adds; None if it has none."""
    offset = stack.padding_idx + 1
    if there == "learned":
        stock, ours = (f"{prefix}.embed_positions.{part}" for part in ("weight", "encoder.table"))
        if stock in weights:
            return weights.pop(stock)[offset:]
        return weights.pop(ours)[0] if ours in weights else None
    if there == "sinusoidal":
        # An encoder that has no table of its own only asks whether there are any.
        return sinusoids(torch.arange(encoder.max_positions or 1) + offset, encoder.dim)
    return None
