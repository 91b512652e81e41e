"""Describe a stack of blocks for the configuration of an exported model, see ``remote``."""

from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.checkpoints.export.huggingface.tables import Exported
from fairseq_floater.encoders.rotary import rotated_pairs
from fairseq_floater.errors import UserError

#: fairseq's names of activations, and those of transformers
_ACTIVATIONS = {
    "relu": "relu",
    "relu_squared": "relu2",
    "gelu": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new",
    "tanh": "tanh",
    "linear": "linear",
    "swish": "silu",
}

#: the encoders of a stack
_PARTS = ("position_encoder", "base_encoder", "input_encoder")


def require_known_activation(checkpoint: Path, name: str) -> None:
    """Raise a ``UserError`` if transformers has no such activation."""
    if name not in _ACTIVATIONS:
        raise UserError(
            f"{checkpoint} cannot be exported: transformers has no --activation-fn {name}; use it "
            "in fairseq, with the plugin"
        )


def plain(weights: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Return those weights that are the same in fairseq and when exported: all but positions."""
    other = {"position_encoder", "base_encoder", "embed_positions", "version"}
    return {name: weight for name, weight in weights.items() if not other & set(name.split("."))}


def side_of(
    stack: PositionedStack, options: Mapping[str, Any], length: int
) -> Tuple[Dict[str, Any], Dict[str, Tensor]]:
    """Return what ``remote.stacks_floater`` needs to know of a stack, and its position tensors.

    Args:
        stack: a stack of the model.
        options: the options of the model.
        length: the number of rows of the tables.
    """
    uses, tensors = _positions(stack, length)
    return {**_sizes(stack, options), "positions": uses}, tensors


def _sizes(stack: PositionedStack, options: Mapping[str, Any]) -> Dict[str, Any]:
    block: Any = stack.layers[0]
    words, dim = stack.embed_tokens.weight.shape  # type: ignore[attr-defined]  # a mixin
    return {
        "words": words,
        "dim": dim,
        "padding": stack.padding_idx,
        "scale": stack.embed_scale,  # type: ignore[attr-defined]
        "layers": len(stack.layers),
        "heads": block.self_attn.num_heads,
        "inner_dim": block.fc1.out_features,
        "activation": _ACTIVATIONS[options["activation_fn"]],
        "dropout": options["dropout"],
        "normalize_before": block.normalize_before,
        "layernorm_embedding": stack.layernorm_embedding is not None,  # type: ignore[attr-defined]
        "final_layer_norm": stack.layer_norm is not None,  # type: ignore[attr-defined]
        "layer_norm_eps": block.final_layer_norm.eps,
        "log_scale": options["attention_log_scale"],
        "shift": options["position_shift"],
    }


def _positions(stack: PositionedStack, length: int) -> Tuple[Dict[str, Any], Dict[str, Tensor]]:
    """Return the uses of positions in a stack by their names, and their tensors."""
    uses: Dict[str, Any] = {}
    tensors: Dict[str, Tensor] = {}
    for part in _PARTS:
        encoder = getattr(stack, part)
        if encoder is not None:
            exported = Exported.of(encoder, length + stack.options.position_shift)
            uses[part] = {**_use(stack, part), "table": exported.settings}
            tensors |= {f"{part}.{name}": tensor for name, tensor in exported.tensors.items()}
    return uses, tensors


def _use(stack: PositionedStack, part: str) -> Dict[str, Any]:
    """Return what the tracks of one encoder are for, see ``remote.forms_floater``."""
    options = stack.options
    block: Any = stack.layers[0]
    if part not in options.uses:  # the base model's, at the input
        return {"injection": "additive", "blocks": 1, "tracks": {"input": [0, 1]}}
    use, form = options.uses[part], block.forms.get(part)
    slices = {"input": slice(0, 1)} if form is None else form.slices
    found = {
        "injection": use.injection,
        "blocks": len(stack.layers) if use.blocks == "all" else 1,
        "tracks": {name: [place.start, place.stop] for name, place in slices.items()},
    }
    if use.injection == "rotation":
        found["pairs"] = rotated_pairs(options, block.self_attn.head_dim)
        found["interleaved"] = options.rotary_layout == "interleaved"
    if use.injection == "relative":
        found["farthest"] = options.shaw_max_distance
    return found
