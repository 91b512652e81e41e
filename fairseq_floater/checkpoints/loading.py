"""Load models from checkpoints, without the corpus that they were trained on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.options import (
    options_error,
    options_of,
    without_embedding_files,
)
from fairseq_floater.errors import UserError, first_line, naming
from fairseq_floater.models.config import FloaterTransformerConfig, ModelConfig
from fairseq_floater.models.description import model_options, task_options
from fairseq_floater.models.floater_roberta import HEADS
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.kinds import TRANSFORMER, kind_with
from fairseq_floater.models.positioned import PositionedModel
from fairseq_floater.models.warm_start import Weights
from fairseq_floater.models.weight_checks import require_sound


class Loaded(NamedTuple):
    """A checkpoint as it was written, its options, and its model in evaluation mode."""

    state: Dict[str, Any]
    config: ModelConfig
    model: PositionedModel


class LoadedTranslation(NamedTuple):
    """As ``Loaded``, for a ``floater_transformer``."""

    state: Dict[str, Any]
    config: FloaterTransformerConfig
    model: FloaterTransformerModel


def load_model(checkpoint: Path) -> Loaded:
    """Read a checkpoint of a model of the plugin. Its vocabulary has the right size, but no words.

    Raises:
        UserError: if there is no such file, or it does not hold a model of the plugin.
    """
    state, config = load_options(checkpoint)
    return Loaded(state, config, _with_weights(checkpoint, state, config))


def load_translation_model(checkpoint: Path) -> LoadedTranslation:
    """As ``load_model``, but only for a ``floater_transformer``; raises as it does."""
    state, config = load_options(checkpoint)
    require_translation(checkpoint, config)
    model = _with_weights(checkpoint, state, config)
    assert isinstance(config, FloaterTransformerConfig)
    assert isinstance(model, FloaterTransformerModel)
    return LoadedTranslation(state, config, model)


def _with_weights(
    checkpoint: Path, state: Mapping[str, Any], config: ModelConfig
) -> PositionedModel:
    model = build_model(checkpoint, config, state)
    load_weights(model, Weights.of(state["model"], str(checkpoint), config.by_name()))
    model.eval()
    return model


def load_weights(model: PositionedModel, weights: Weights) -> None:
    """Load all weights except those of the heads that a task added: only that task can build them.

    Raises:
        UserError: if the weights are those of another model.
    """
    heads = [name for name in weights if name.startswith(HEADS)]
    for name in heads if model.gets_heads else ():
        del weights[name]
    model.load_state_dict(weights)


def require_translation(checkpoint: Path, config: ModelConfig) -> None:
    """Raise a ``UserError`` for a model of another kind, which has no decoder."""
    kind = kind_with(config)
    if kind is not TRANSFORMER:
        name, wanted = (k.name.removeprefix("floater_") for k in (kind, TRANSFORMER))
        raise UserError(
            f"{checkpoint} holds a {name}, but this is for a {wanted}: give a checkpoint of one"
        )


def load_options(checkpoint: Path) -> Tuple[Dict[str, Any], ModelConfig]:
    """Return the state and options of a checkpoint of ours; raises as ``load_model`` does."""
    state = read_existing(checkpoint)
    if "position_encoder" not in model_options(state):
        raise UserError(
            f"{checkpoint} does not hold a floater_transformer or floater_roberta model"
        )
    return state, options_of(checkpoint, state)


def read_existing(checkpoint: Path) -> Dict[str, Any]:
    """As ``read_checkpoint``, for a file that must be there, with weights that must be sound.

    Raises:
        UserError: as ``read_checkpoint``; also if there is no such file, or a weight is unsound.
    """
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {checkpoint}: give the path of a checkpoint*.pt")
    state = read_checkpoint(str(checkpoint))
    require_sound(checkpoint, state["model"])
    return state


def build_model(checkpoint: Path, config: ModelConfig, state: Mapping[str, Any]) -> PositionedModel:
    """Build a model with fresh weights; its vocabulary is as large as that of ``state``.

    Raises:
        UserError: if there is no model with these options, which are those in ``checkpoint``.
    """
    kind, weights = kind_with(config), state["model"]
    task = SimpleNamespace(cfg=SimpleNamespace(**task_options(state)))
    shared = getattr(config, "share_all_embeddings", False)
    for name, table in kind.words.items():
        first = getattr(task, "source_dictionary", None) if shared else None
        setattr(task, name, first or _dictionary(checkpoint, weights, table))
    try:
        with naming(checkpoint), without_embedding_files(config):
            return kind.model.build_model(config, task)  # type: ignore[attr-defined]  # a mixin
    except UserError:
        raise
    except Exception as error:  # fairseq and torch raise errors of every kind here
        raise options_error(checkpoint, f"there is no such model ({first_line(error)})") from error


def _dictionary(checkpoint: Path, weights: Mapping[str, Tensor], name: str) -> Dictionary:
    if name not in weights:
        raise UserError(
            f"checkpoint {checkpoint} has no {name}: only plain token embeddings are supported"
        )
    if weights[name].dim() != 2 or not weights[name].numel():
        raise UserError(
            f"checkpoint {checkpoint} has {name} of shape {tuple(weights[name].shape)}, which is "
            "not a table of words: copy it again, or put an earlier one in its place"
        )
    dictionary = Dictionary()
    for number in range(len(dictionary), len(weights[name])):
        dictionary.add_symbol(f"word{number}")
    return dictionary
