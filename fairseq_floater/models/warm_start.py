"""Starting from a trained model: what of it fits, and where the new parameters start.

A base model is fairseq's ``transformer``, or ours without learned trajectories. Its own input
encoding is kept (bias injection) or becomes the first block's vectors (additive injection); all
else that positions add starts at 0, so that the first forward pass gives the base model's logits
(paper, section 3.3). What does not fit is named before any weight is copied.
"""

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type

import torch
from torch import Tensor

from fairseq_floater.blocks.stacks import PositionedStack
from fairseq_floater.encoders import KINDS, PositionEncoder
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.sinusoidal import sinusoids
from fairseq_floater.errors import UserError

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
)

#: so many weights that do not fit are named, the others counted
NAMED = 4


class Weights(OrderedDict[str, Tensor]):
    """The weights of a checkpoint, which remember where they come from.

    Attributes:
        path: of the checkpoint.
        options: of the model they are of; empty where nothing says.
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
    """The state dict to load into ``model`` so that it computes what the weights' model does.

    Args:
        model: a ``PositionedModel``.
        weights: of such a model or of a base model. If they are ``Weights``, what they say of
            their model is compared, too.

    Raises:
        UserError: naming what does not fit.
    """
    options = getattr(weights, "options", {})
    fitting = OrderedDict(weights)
    misfits = different_options(options, model.options)
    for name, stack in model.stacks().items():
        misfits += _start_positions(stack, name, fitting, options, model.options)
    model.upgrade_state_dict(fitting)
    here = model.state_dict()
    different = different_weights(fitting, here) + _untied(fitting, here)
    if misfits and different:
        misfits.append(f"{len(different)} weights differ in name or shape")
    elif different:
        misfits = first_named(different)
    if misfits:
        path = getattr(weights, "path", Weights.path)
        raise UserError(
            f"{path} does not fit this model, nothing is loaded: {'; '.join(misfits)} "
            "(give the options that its model has)"
        )
    return fitting


def different_options(there: Mapping[str, Any], here: Mapping[str, Any]) -> List[str]:
    """The options by which a model there computes something else than one here.

    Of the same kind of position encoder those count, too, without which its trajectories would be
    others; when tokens stand, and how closely an equation is followed, may change.
    """
    kind = KINDS.get(str(here.get("position_encoder")))
    same = kind is not None and there.get("position_encoder") == kind.kind
    return [
        f"{flag_name(name)} is {there[name]} there, {here[name]} here"
        for name in COMPARED + (_defining(kind) if kind is not None and same else ())
        if name in there and str(there[name]) != str(here[name])
    ]


def _defining(kind: Type[PositionEncoder]) -> Tuple[str, ...]:
    """Options that say what a kind's parameters are for, and what else defines its vectors."""
    return (*kind.defined_by, *(("position_blocks", "position_attention") if kind.learns else ()))


def input_encoding(options: Mapping[str, Any], stack: str) -> Optional[str]:
    """What a model with these options adds to the input of a stack; None for nothing."""
    kind = KINDS.get(str(options.get("position_encoder")))
    if kind is not None:
        injection = options.get("position_injection") or next(iter(kind.injections), None)
        if injection is None:
            return None
        if injection != "bias":
            at_depth = " at all blocks" if options.get("position_blocks") == "all" else ""
            return f"{kind.kind}{at_depth}"
    if options.get("no_token_positional_embeddings"):
        return None
    return "learned" if options.get(f"{stack}_learned_pos") else "sinusoidal"


_OTHER_INPUT = "its {} has {} positions at the input, this one {}"


def _start_positions(
    stack: PositionedStack,
    name: str,
    weights: Dict[str, Tensor],
    options_there: Mapping[str, Any],
    options_here: Mapping[str, Any],
) -> List[str]:
    """Add to ``weights`` what a stack's trajectories start from; says so where it cannot."""
    here = input_encoding(options_here, name)
    prefix, encoder = f"{name}.position_encoder.", stack.position_encoder
    if any(key.startswith(prefix) for key in weights):
        there = input_encoding(options_there, name) if options_there else here
        return [] if there == here else [_OTHER_INPUT.format(name, there or "no", here or "none")]
    there = here
    if f"{name}.embed_positions.weight" in weights:
        there = "learned"
    elif options_there:
        there = input_encoding(options_there, name)
    start = None
    if there == here:
        start = {} if encoder is None or not stack.biased else encoder.starting_at(None)
    elif not stack.biased and encoder is not None:
        start = encoder.starting_at(_base_table(stack, encoder, name, there, weights))
    if start is None:
        return [_OTHER_INPUT.format(name, there or "no", here or "none")]
    weights.update({f"{prefix}{key}": value for key, value in start.items()})
    return []


def _base_table(
    stack: PositionedStack,
    encoder: PositionEncoder,
    name: str,
    there: Optional[str],
    weights: Dict[str, Tensor],
) -> Optional[Tensor]:
    """The vectors (positions, dim) that a base model adds; None if it adds none."""
    offset = stack.padding_idx + 1
    if there == "learned":
        return weights.pop(f"{name}.embed_positions.weight")[offset:]
    if there == "sinusoidal":
        return sinusoids(torch.arange(encoder.max_positions or 1) + offset, encoder.dim)
    return None


def first_named(different: List[str]) -> List[str]:
    """The first few of ``different``, and how many there are more."""
    more = len(different) - NAMED
    return different[:NAMED] + ([f"and {more} weights more"] if more > 0 else [])


def different_weights(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> List[str]:
    """The weights that are there or here only, or of other shapes or kinds, a sentence each."""
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
            different.append(f"{name} is of {there[name].dtype} there, {here[name].dtype} here")
    return different


def _untied(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> List[str]:
    """Weights that are one here but have two values there: the last to load would win."""
    first: Dict[int, str] = {}
    untied = []
    for name, weight in here.items():
        other = first.setdefault(weight.data_ptr(), name)
        if weight.numel() and other != name and name in there and other in there:
            if not torch.equal(there[name], there[other]):
                untied.append(f"{name} and {other} are one here, two there")
    return untied
