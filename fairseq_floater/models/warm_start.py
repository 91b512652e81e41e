"""Starting from a trained model: which of its weights fit, and where the new parameters start.

A base model is fairseq's ``transformer``, or ours. Its own positions, at the input or within
attention, are kept (bias injection), or a table of the input becomes the first block's vectors
(learned ones, injected additively). Everything else that positions add starts at 0, so that the
first forward pass gives the base model's logits (paper, section 3.3). Other positions within
attention start with new values, in place of those at the input. What does not fit is named before
any weight is copied.
"""

import logging
from collections import OrderedDict
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional

import torch
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.options import PEERS
from fairseq_floater.encoders.sinusoidal import sinusoids
from fairseq_floater.errors import UserError
from fairseq_floater.models.description import (
    Positions,
    departed_from,
    names_roberta,
    position_options,
    positions_of,
)

logger = logging.getLogger(__name__)

#: options that say what a model computes, whether or not the weights' names and shapes show it
COMPARED = tuple(
    f"{stack}_{option}"
    for stack in ("encoder", "decoder")
    for option in ("embed_dim", "ffn_embed_dim", "layers", "attention_heads", "normalize_before")
) + (
    "activation_fn",
    "no_scale_embedding",
    "layernorm_embedding",
    "no_cross_attention",
    "cross_self_attention",
    "attention_log_scale",
    "layer_norm_eps",
)

#: values in fairseq's own models of options that only ours have, or that older ones may lack
_FAIRSEQS = {"layer_norm_eps": 1e-5, "attention_log_scale": None}
_ROBERTAS = {**_FAIRSEQS, "activation_fn": "gelu", "layernorm_embedding": True}
_TRANSFORMERS = {
    **_FAIRSEQS,
    "activation_fn": "relu",
    **dict.fromkeys(("layernorm_embedding", "no_scale_embedding"), False),
    **dict.fromkeys(("no_cross_attention", "cross_self_attention"), False),
}

#: positions at the input that fairseq's own models have
STOCK = ("sinusoidal", "learned")

#: how many weights that do not fit are named; the others are counted
NAMED = 4


class Weights(OrderedDict[str, Tensor]):
    """The weights of a checkpoint, which remember where they come from.

    Attributes:
        path: the path of the checkpoint.
        options: the options of their model; empty if they are not known.
    """

    path: str = "the checkpoint"
    options: Mapping[str, Any] = {}

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], path: str, options: Mapping[str, Any]) -> "Weights":
        remembering = cls(weights)
        remembering.__dict__.update(getattr(weights, "__dict__", {}))  # such as _metadata
        remembering.path, remembering.options = path, options
        return remembering


def fit(model: Any, weights: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Return the state dict to load so that ``model`` computes what the weights' model does.

    Args:
        model: a ``PositionedModel``.
        weights: those of such a model or of a base model. If they are ``Weights``, the options of
            their model are compared as well.

    Raises:
        UserError: naming what does not fit.
    """
    options = getattr(weights, "options", {})
    fitting = OrderedDict(weights)
    misfits = different_options(options, model.options)
    if options and (change := other_shift(options, model.options)):
        logger.warning(change)
    for prefix, stack in model.stacks().items():
        misfits += _start_positions(stack, prefix, fitting, options, model.options)
    try:
        model.upgrade_state_dict(fitting)
    except Exception as error:  # fairseq raises exceptions of every kind
        path = getattr(weights, "path", Weights.path)
        raise UserError(f"{path} does not fit this model, nothing is loaded: {error}") from error
    here = model.state_dict()
    shorter = _extend_base(model, fitting, here)
    different = different_weights(fitting, here) + _untied(fitting, here) + shorter
    if misfits and different:
        misfits.append(f"{len(different)} weights differ in name or shape")
    elif different:
        misfits = first_named(different)
    if misfits:
        path = getattr(weights, "path", Weights.path)
        raise UserError(
            f"{path} does not fit this model, nothing is loaded: {'; '.join(misfits)} "
            "(give the options of its model)"
        )
    return fitting


def other_shift(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return what another ``--position-shift`` changes, in words; empty if it is the same.

    In evaluation, a sentence starts at the shift. A training may want another one.
    """
    old, new = (int(options.get("position_shift") or 0) for options in (there, here))
    if old == new:
        return ""
    return (
        f"--position-shift is {old} there, {new} here: in evaluation, sentences start at position "
        f"{new}, which may change what is computed"
    )


def _extend_base(model: Any, weights: Dict[str, Tensor], here: Mapping[str, Tensor]) -> List[str]:
    """Repeat the last row of learned tables at the input that end too early.

    Returns what to do where the options do not ask for it.
    """
    said = []
    for prefix, stack in model.stacks().items():
        at_input = stack.options.position_blocks == "input" and stack.additive
        place = "position_encoder" if at_input else "embed_positions.encoder"
        name = f"{prefix}.{place}.table"
        table, wanted = weights.get(name), here.get(name)
        if table is None or wanted is None or table.dim() != 3 or not table.size(1):
            continue
        more = wanted.size(1) - table.size(1)
        if more > 0 and stack.options.extend_base_positions:
            weights[name] = torch.cat([table, table[:, -1:].expand(-1, more, -1)], dim=1)
        elif more > 0:
            said.append("--extend-base-positions continues where that table ends")
    return said


def different_options(there: Mapping[str, Any], here: Mapping[str, Any]) -> List[str]:
    """Return the options by which a model there computes something else than one here.

    For position encoders of the same kind, these include the options that define the trajectories.
    The times at which tokens stand, and how closely an equation is followed, may change.
    """
    names = COMPARED
    if there:
        there = {**(_ROBERTAS if names_roberta(there) else _TRANSFORMERS), **there}
    ours, theirs = position_options(here), position_options(there)
    classes = {None if options is None else options.encoder_class for options in (ours, theirs)}
    shared = classes.pop() if len(classes) == 1 else None
    if shared is not None:
        names += shared.defining(ours)
    different = [
        f"{flag_name(name)} is {there[name]} there, {here[name]} here"
        for name in names
        if name in there and name in here and _differ(there[name], here[name])
    ]
    if shared is not None and shared.learns:
        # The values in force, whether or not they are given.
        pairs = {"position_blocks": "position_blocks", "position_attention": "attention"}
        different += [
            f"{flag_name(name)} is {getattr(theirs, what)} there, {getattr(ours, what)} here"
            for name, what in pairs.items()
            if getattr(theirs, what) != getattr(ours, what)
        ]
    return different


def _differ(there: Any, here: Any) -> bool:
    """True if values differ; 1 and 1.0 are the same, and so are a choice and its name."""
    return bool(there != here) and str(there) != str(here)


def _start_positions(
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
    encoder = stack.position_encoder
    is_new = encoder is not None and not any(key.startswith(place) for key in weights)
    same = (there.at_input, there.within) == (here.at_input, here.within)
    start: Optional[Dict[str, Tensor]] = None
    if same and not (is_new and stack.biased):
        return []
    elif same:
        assert encoder is not None
        if (start := encoder.state_without_effect()) is None:
            return [_cannot_vanish(stack.name, encoder)]
    elif is_new and stack.additive and there.within is None and there.at_input in (None, *STOCK):
        assert encoder is not None
        if there.at_input is None and encoder.state_dict() and not encoder.output_parameters():
            return [_cannot_vanish(stack.name, encoder)]
        table = _take_base_table(stack, encoder, prefix, there.at_input, weights)
        start = encoder.state_without_effect(table)
    elif there.within != here.within:
        return _start_within(stack, prefix, weights, there, here, options_here)
    elif here == Positions(None, None, None) and there.biases is None and there.at_input in STOCK:
        _drop_at_input(weights, prefix)
        logger.warning(
            f"the {stack.name} continues without positions; its {there.at_input} ones are dropped"
        )
        return []
    if start is None:
        return [_other(stack.name, there.at_input, here.at_input, "at the input")]
    weights.update({f"{place}{key}": value for key, value in start.items()})
    return []


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


def _start_within(
    stack: PositionedStack,
    prefix: str,
    weights: Dict[str, Tensor],
    there: Positions,
    here: Positions,
    options_here: Mapping[str, Any],
) -> List[str]:
    """Start new positions within attention if a model had none, or had what they start from.

    Those at the input are kept or dropped as the options say, which changes the logits; the log
    says so.
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
        state = encoder.state_dict()
        if part == "base_encoder" and state and options_here.get("freeze_base"):
            return [
                f"--freeze-base would freeze the {stack.name}'s new {here.within} positions at "
                "their initial values: train without it"
            ]
        if part == "position_encoder" and stack.biased:
            if (start := encoder.state_without_effect()) is None:
                return [_cannot_vanish(stack.name, encoder)]
            state = start
        weights.update({f"{prefix}.{part}.{key}": value.clone() for key, value in state.items()})
    if dropped:
        _drop_at_input(weights, prefix)
    if there.within is None or dropped:
        fate = "dropped" if dropped else "kept"
        at_input = f"; those at the input ({there.at_input}) are {fate}" if there.at_input else ""
        started = f"the {stack.name} starts with {here.within} positions within attention"
        logger.warning(f"{started}{at_input}")
    return []


def _how_to_keep(there: Positions, here: Positions) -> str:
    """Return which option keeps the positions there beside biases; empty if none can."""
    kind, _, more = (there.within or "").partition(",")
    elsewhere = " attentions" in more or "at the first block" in more
    if here.biases is None or there.biases is not None or kind not in PEERS or elsewhere:
        return ""
    return f" (--base-positions {kind}, with its model's other options for it, keeps them)"


def _drop_at_input(weights: Dict[str, Tensor], prefix: str) -> None:
    _drop(weights, f"{prefix}.embed_positions.")


def _drop(weights: Dict[str, Tensor], prefix: str) -> None:
    for key in [key for key in weights if key.startswith(prefix)]:
        del weights[key]


def _move(weights: Dict[str, Tensor], old: str, new: str) -> None:
    for key in [key for key in weights if key.startswith(old)]:
        weights[new + key[len(old) :]] = weights.pop(key)


def _cannot_vanish(name: str, encoder: PositionEncoder) -> str:
    kind = type(encoder).__name__
    return f"{kind} of the {name} has no state without effect: give it output_parameters"


def _other(name: str, there: Optional[str], here: Optional[str], where: str) -> str:
    return f"its {name} has {there or 'no'} positions {where}, this one {here or 'none'}"


def _take_base_table(
    stack: PositionedStack,
    encoder: PositionEncoder,
    prefix: str,
    there: Optional[str],
    weights: Dict[str, Tensor],
) -> Optional[Tensor]:
    """Take out the vectors (positions, dim) that a base model adds; None if it adds none."""
    offset = stack.padding_idx + 1
    if there == "learned":
        return weights.pop(f"{prefix}.embed_positions.weight")[offset:]
    if there == "sinusoidal":
        # An encoder that has no table of its own only asks whether there are any.
        return sinusoids(torch.arange(encoder.max_positions or 1) + offset, encoder.dim)
    return None


def first_named(different: List[str]) -> List[str]:
    """Return the first few of ``different``, and how many more there are."""
    more = len(different) - NAMED
    return different[:NAMED] + ([f"and {more} more weights"] if more > 0 else [])


def different_weights(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> List[str]:
    """Return the weights that only one has, or whose shapes or kinds differ, a sentence each."""
    different = []
    for name in [*here, *(name for name in there if name not in here)]:
        if name not in there:
            different.append(f"it lacks {name}")
        elif name not in here:
            different.append(f"{name} has no place here")
        elif there[name].shape != here[name].shape:
            sizes = (" x ".join(map(str, w[name].shape)) for w in (there, here))
            different.append("{} is {} there, {} here".format(name, *sizes))
        elif there[name].is_floating_point() != here[name].is_floating_point():
            different.append(f"{name} is {there[name].dtype} there, {here[name].dtype} here")
    return different


def _untied(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> List[str]:
    """Return weights that are one here but have two values there: the last loaded would win."""
    first: Dict[int, str] = {}
    untied = []
    for name, weight in here.items():
        other = first.setdefault(weight.data_ptr(), name)
        if weight.numel() and other != name and name in there and other in there:
            if not torch.equal(there[name], there[other]):
                untied.append(f"{name} and {other} are one weight here, two there")
    return untied
