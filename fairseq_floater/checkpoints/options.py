"""Read the options of the model in a checkpoint of any age, and check that they can be right."""

import argparse
import ast
import re
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Iterator, List, Mapping, MutableMapping, Optional, Union

from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from omegaconf import DictConfig, open_dict

from fairseq_floater.blocks.positioned import kept_layers, require_bounded
from fairseq_floater.encoders import BASES, FORMERLY, KINDS
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import ModelConfig, validate_model
from fairseq_floater.models.description import model_options
from fairseq_floater.models.kinds import kind_of
from fairseq_floater.models.size import require_size_of


def require_heads_divide_width(checkpoint: Union[Path, str], options: Mapping[str, Any]) -> None:
    """Refuse a Transformer whose width cannot be divided among its heads.

    fairseq refuses it, too, but does not name the checkpoint.

    Raises:
        UserError: naming the checkpoint and the options.
    """
    for stack in ("encoder", "decoder"):
        width = options.get(f"{stack}_embed_dim")
        heads = options.get(f"{stack}_attention_heads")
        if isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads:
            raise UserError(
                f"checkpoint {checkpoint} describes no model: its --{stack}-embed-dim {width} "
                f"cannot be divided among --{stack}-attention-heads {heads}; copy it again, or put "
                "an earlier one in its place"
            )


def require_known(checkpoint: Union[Path, str], options: Mapping[str, Any]) -> None:
    """Refuse options that name a model that neither fairseq nor the plugin has.

    fairseq does not report it.

    Raises:
        UserError: naming the model.
    """
    name = options.get("_name") or options.get("arch")
    if str(name) not in {*ARCH_MODEL_REGISTRY, *MODEL_DATACLASS_REGISTRY}:
        raise options_error(checkpoint, f"its model is {repr(name)[:60]}, which does not exist")


def say_what_was_meant(state: Mapping[str, Any]) -> None:
    """Add options that are newer than a checkpoint, with the values that keep its model as it was.

    fairseq makes ``cfg`` from the ``args`` of a very old checkpoint, with today's defaults.
    """
    written = _options_in(state)
    if not written or "position_encoder" not in written[0]:
        return
    absent = {name: value for name, value in FORMERLY.items() if name not in written[0]}
    for options in written:
        with open_dict(options) if isinstance(options, DictConfig) else nullcontext():
            options.update(absent)


def _options_in(state: Mapping[str, Any]) -> List[MutableMapping[str, Any]]:
    """Return the options of the model, from both places in a checkpoint, to be changed there."""
    cfg = state.get("cfg")
    found = [state.get("args"), cfg.get("model") if isinstance(cfg, Mapping) else None]
    found = [vars(model) if isinstance(model, argparse.Namespace) else model for model in found]
    return [model for model in found if isinstance(model, MutableMapping)]


#: options that name the files of pre-trained embeddings
EMBEDDING_FILES = ("encoder_embed_path", "decoder_embed_path")


@contextmanager
def without_embedding_files(config: ModelConfig) -> Iterator[None]:
    """Within, ``config`` names no embedding files, as after ``forget_embedding_files``."""
    files = {name: getattr(config, name) for name in EMBEDDING_FILES if hasattr(config, name)}
    config.__dict__.update(dict.fromkeys(files))
    try:
        yield
    finally:
        config.__dict__.update(files)


def forget_embedding_files(state: Mapping[str, Any]) -> None:
    """Remove the files of pre-trained embeddings from the model's options.

    fairseq would read them when it builds the model, on a machine that may not have them, and then
    load the checkpoint's own embeddings over them.
    """
    for options in _options_in(state):
        for name in EMBEDDING_FILES:
            if name in options:
                options[name] = None


def take_lists(state: Mapping[str, Any]) -> None:
    """Turn blocks to keep that are text, such as 0,2 from --model-overrides, into a list."""
    for options in _options_in(state):
        for name in ("encoder_layers_to_keep", "decoder_layers_to_keep"):
            if isinstance(options.get(name), str):
                options[name] = list(kept_layers(options[name]))


#: ends of the names of options whose text fairseq evaluates as Python when it builds a Transformer,
#: and the types that its value may have
EVALUATED = {"xformers_att_config": (dict,), "adaptive_softmax_cutoff": (tuple, list, int)}


def require_literals(checkpoint: Union[Path, str], options: Mapping[str, Any]) -> None:
    """Refuse options of any fairseq model that would run code when the model is built.

    Raises:
        UserError: naming the option.
    """
    for name, value in options.items():
        if isinstance(value, argparse.Namespace):
            value = vars(value)
        if isinstance(value, Mapping):
            require_literals(checkpoint, value)
        for end, kinds in EVALUATED.items() if isinstance(value, str) else ():
            if str(name).endswith(end) and not isinstance(_literal(value), kinds):
                raise options_error(checkpoint, f"{name} is {repr(value)[:60]}, not a plain value")


def _literal(text: str) -> object:
    """Return the plain Python value that a text stands for, or None if it stands for none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def options_of(
    checkpoint: Union[Path, str],
    state: Mapping[str, Any],
    overrides: Optional[Mapping[str, Any]] = None,
) -> ModelConfig:
    """Return the options in a checkpoint of our model or fairseq's, with defaults for the others.

    Args:
        checkpoint: the name of its file.
        state: what is in it.
        overrides: options that replace those in the file.

    Raises:
        UserError: if they are of the wrong type, do not describe a Transformer or a RoBERTa, or
            describe a far larger model than the weights are of.
    """
    options = model_options(state)
    kind = kind_of(options)
    if kind is None:
        raise UserError(
            f"{checkpoint} holds a {options.get('arch') or options.get('_name')}: give a "
            "checkpoint of a transformer or of a roberta"
        )
    try:
        config = kind.model.Config.of(options)
        if "position_encoder" in options:
            validate_model(config)
        require_size_of(config, state["model"])
        for name in config.limits.values():
            require_bounded(name, getattr(config, name) or 0)
    except UserError as error:
        # Here fairseq also passes options of other commands.
        flags = re.findall(r"--[\w-]+", str(error))
        given = {name: v for name, v in (overrides or {}).items() if flag_name(name) in flags}
        if given:
            raise UserError(f"{checkpoint} with --model-overrides {given}: {error}") from None
        if _has_other_kinds(options):
            raise UserError(
                f"checkpoint {checkpoint}: {error}; if the kind is not one of ours, give the "
                "folder of its module as --user-dir"
            ) from None
        raise options_error(checkpoint, error) from None
    return config


def _has_other_kinds(options: Mapping[str, Any]) -> bool:
    """Return True if the options name a kind of position encoder that is not known here."""
    named = ((options.get("position_encoder"), KINDS), (options.get("base_positions"), BASES))
    return any(isinstance(kind, str) and kind not in known for kind, known in named)


def options_error(checkpoint: Union[Path, str], reason: object) -> UserError:
    """Return the error to raise for options that no model was trained with."""
    return UserError(
        f"checkpoint {checkpoint} has options that cannot be right: {reason}; copy it again, or "
        "put an earlier one in its place"
    )
