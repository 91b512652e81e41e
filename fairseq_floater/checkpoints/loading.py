"""Models from checkpoints, without the corpus they were trained on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Mapping, NamedTuple, Tuple

from fairseq.data import Dictionary
from torch import Tensor

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.options import model_options, options_error, options_of
from fairseq_floater.errors import UserError, first_line
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.soundness import require_sound
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
    model = build_model(checkpoint, config, state["model"])
    model.load_state_dict(Weights.of(state["model"], str(checkpoint), vars(config)))
    return Loaded(state, config, model.eval())


def load_options(checkpoint: Path) -> Tuple[Dict[str, Any], FloaterTransformerConfig]:
    """State and options of a ``floater_transformer`` checkpoint; raises as ``load_model``."""
    state = read_existing(checkpoint)
    if "position_encoder" not in model_options(state):
        raise UserError(f"{checkpoint} does not hold a floater_transformer model")
    return state, options_of(checkpoint, state)


def read_existing(checkpoint: Path) -> Dict[str, Any]:
    """``read_checkpoint``, of a file that must be there and of weights that can be weights.

    Raises:
        UserError: saying which of the two it is, and naming the weight.
    """
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {checkpoint}: give the path of a checkpoint*.pt")
    state = read_checkpoint(str(checkpoint))
    require_sound(checkpoint, state["model"])
    return state


def build_model(
    checkpoint: Path, config: FloaterTransformerConfig, weights: Mapping[str, Tensor]
) -> FloaterTransformerModel:
    """A model with fresh weights, for a vocabulary as large as that of ``weights``.

    Raises:
        UserError: if there is no model of these options, which are those in ``checkpoint``.
    """
    source = _dictionary(checkpoint, weights, "encoder")
    shared = config.share_all_embeddings
    target = source if shared else _dictionary(checkpoint, weights, "decoder")
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    try:
        return FloaterTransformerModel.build_model(config, task)
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None
    except Exception as error:  # fairseq's and torch's reasons for options are of every kind
        raise options_error(checkpoint, f"there is no such model ({first_line(error)})") from error


def _dictionary(checkpoint: Path, weights: Mapping[str, Tensor], stack: str) -> Dictionary:
    name = f"{stack}.embed_tokens.weight"
    if name not in weights:
        raise UserError(
            f"checkpoint {checkpoint} has no {name}: only plain token embeddings are supported"
        )
    if weights[name].dim() != 2 or not weights[name].numel():
        raise UserError(
            f"checkpoint {checkpoint} has {name} of shape {tuple(weights[name].shape)}, which is "
            "no table of words: copy it again, or put an earlier one in its place"
        )
    dictionary = Dictionary()
    for number in range(len(dictionary), len(weights[name])):
        dictionary.add_symbol(f"word{number}")
    return dictionary
