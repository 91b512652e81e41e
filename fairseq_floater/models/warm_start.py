"""Starting from a trained model: which of its weights fit, and what to load of them.

Where positions start that the trained model lacks is said in ``position_starts``. What does not fit
is named before any weight is copied.
"""

import logging
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, MutableMapping, Sequence

import torch
from torch import Tensor

from fairseq_floater.encoders import LearnedEncoder
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import UserError
from fairseq_floater.models.description import names_roberta, position_options
from fairseq_floater.models.position_starts import start_positions

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

#: options that say where tokens stand, and what another value of each does
PLACING = {
    "position_shift": "in evaluation, sentences start at position {}",
    **dict.fromkeys(
        ("position_times", "sentence_separator", "sentence_gap"), "tokens stand at other positions"
    ),
}

#: values in fairseq's own models of options that only ours have, or that older ones may lack
_FAIRSEQS = {"layer_norm_eps": 1e-5, "attention_log_scale": None, "position_shift": 0}
_ROBERTAS = {**_FAIRSEQS, "activation_fn": "gelu", "layernorm_embedding": True}
_TRANSFORMERS = {
    **_FAIRSEQS,
    "activation_fn": "relu",
    **dict.fromkeys(("layernorm_embedding", "no_scale_embedding"), False),
    **dict.fromkeys(("no_cross_attention", "cross_self_attention"), False),
}

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
    for change in other_places(options, model.options):
        logger.warning(change)
    for prefix, stack in model.stacks().items():
        misfits += start_positions(stack, prefix, fitting, options, model.options)
    try:
        model.upgrade_state_dict(fitting)
    except Exception as error:  # fairseq raises exceptions of every kind
        path = getattr(weights, "path", Weights.path)
        raise UserError(f"{path} does not fit this model, nothing is loaded: {error}") from error
    shorter = extend_learned_tables(model, fitting)
    here = model.state_dict()
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


def other_places(
    there: Mapping[str, Any], here: Mapping[str, Any], names: Sequence[str] = tuple(PLACING)
) -> List[str]:
    """Return those of the options ``names`` by which tokens stand elsewhere here, a sentence each.

    A training may want others.
    """
    there = _completed(there)
    return [
        f"{flag_name(name)} is {there[name]} there, {here[name]} here: "
        f"{PLACING[name].format(here[name])}, which may change what is computed"
        for name in names
        if name in there and name in here and there[name] != here[name]
    ]


def extend_learned_tables(model: Any, weights: MutableMapping[str, Tensor]) -> List[str]:
    """Repeat the last row of learned tables that end too early.

    Returns what to do where the options do not ask for it.
    """
    said = []
    for prefix, stack in model.stacks().items():
        for place, encoder in (
            ("position_encoder", stack.position_encoder),
            ("embed_positions.encoder", stack.input_encoder),
        ):
            name = f"{prefix}.{place}.table"
            table = weights.get(name)
            if not isinstance(encoder, LearnedEncoder) or table is None:
                continue
            if table.dim() != 3 or not table.size(1):
                continue
            more = encoder.max_positions - table.size(1)
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
    there = _completed(there)
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


def _completed(there: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a model's options, if any, with those that fairseq's own models do not say."""
    if not there:
        return there
    return {**(_ROBERTAS if names_roberta(there) else _TRANSFORMERS), **there}


def _differ(there: Any, here: Any) -> bool:
    """True if values differ; 1 and 1.0 are the same, and so are a choice and its name."""
    return bool(there != here) and str(there) != str(here)


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
