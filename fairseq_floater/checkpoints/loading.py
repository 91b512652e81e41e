"""Models from checkpoints, without the corpus they were trained on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_floater.checkpoints.files import model_options, read_checkpoint
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig, to_config
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.warm_start import Weights


class Loaded(NamedTuple):
    """A checkpoint as it was written, its options, and its model, in evaluation mode."""

    state: Dict[str, Any]
    config: FloaterTransformerConfig
    model: FloaterTransformerModel


def load_model(checkpoint: Path) -> Loaded:
    """Read a ``floater_transformer`` checkpoint. Its vocabulary has the right size, but no words.

    Raises:
        UserError: if there is no such file, or it is no checkpoint of a ``floater_transformer``.
    """
    state, config = load_options(checkpoint)
    model = build_model(config, state["model"])
    model.load_state_dict(Weights.of(state["model"], str(checkpoint), vars(config)))
    return Loaded(state, config, model.eval())


def load_options(checkpoint: Path) -> Tuple[Dict[str, Any], FloaterTransformerConfig]:
    """State and options of a ``floater_transformer`` checkpoint; raises as ``load_model``."""
    state = read_existing(checkpoint)
    options = model_options(state)
    if "position_encoder" not in options:
        raise UserError(f"{checkpoint} does not hold a floater_transformer model")
    return state, to_config(options)


def read_existing(checkpoint: Path) -> Dict[str, Any]:
    """``read_checkpoint``, with a word of its own for a file that is not there."""
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {checkpoint}: give the path of a checkpoint*.pt")
    return read_checkpoint(str(checkpoint))


def build_model(
    config: FloaterTransformerConfig, weights: Mapping[str, Tensor]
) -> FloaterTransformerModel:
    """A model with fresh weights, for a vocabulary as large as that of ``weights``."""
    source = _dictionary(weights, "encoder")
    shared = config.share_all_embeddings
    target = source if shared else _dictionary(weights, "decoder")
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    return FloaterTransformerModel.build_model(config, task)


def _dictionary(weights: Mapping[str, Tensor], stack: str) -> Dictionary:
    name = f"{stack}.embed_tokens.weight"
    if name not in weights:
        raise UserError(f"the checkpoint has no {name}: only plain token embeddings are supported")
    dictionary = Dictionary()
    for number in range(len(dictionary), len(weights[name])):
        dictionary.add_symbol(f"word{number}")
    return dictionary
