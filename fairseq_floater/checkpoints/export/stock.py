"""Export a trained model to fairseq's own ``transformer``, for use without this plugin.

fairseq adds positions at the input, and nowhere else, so it can take over a model that does the
same:

- floater, fourier and rnn, additive at the input: their trajectories become a learned table;
- a learned table, additive at the input: as it is;
- sinusoids at the input, or no positions: fairseq has both.

It has no place for biases of queries, keys and values, nor for vectors added at every block. Such
models are refused, but ``program.py`` takes them.

Programs that read fairseq's checkpoints can read what is written here. One is CTranslate2's
converter (which refuses any fairseq model without positions):

    ct2-fairseq-converter --model_path OUT --data_dir BIN --output_dir FOLDER

CTranslate2's defaults differ from fairseq's: a beam of 2 (fairseq: 5), and 256 tokens at most
(fairseq: 200). It cuts sources after 1,024 tokens, where fairseq refuses them.
"""

from argparse import Namespace
from collections import OrderedDict
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import torch
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_floater.checkpoints.export import DEFAULT_POSITIONS, Lengths, require_whole_positions
from fairseq_floater.checkpoints.files import forget_training, write_checkpoint
from fairseq_floater.checkpoints.loading import load_translation_model
from fairseq_floater.checkpoints.options import options_error
from fairseq_floater.encoders import WITHIN_ATTENTION, PositionEncoder
from fairseq_floater.errors import UserError, first_line, naming
from fairseq_floater.files import require_other_file
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.description import model_options
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.renamed import new_name
from fairseq_floater.options import PositionOptions

#: the plugin's criterions of translation, and those of fairseq with the same options and loss
STOCK_CRITERIONS: Dict[Any, str] = {"floater_cross_entropy": "label_smoothed_cross_entropy"}


def export_stock(checkpoint: Path, output: Path, positions: Optional[int] = None) -> Lengths:
    """Write a ``floater_transformer`` checkpoint as a ``transformer`` one, without the optimizer.

    Args:
        checkpoint: the checkpoint to read.
        output: the checkpoint to write.
        positions: the number of rows of the tables and the longest input, see ``Lengths.of``.

    Raises:
        UserError: if fairseq has no place for the model's positions, a learned table is shorter
            than ``positions``, or there is no such checkpoint.
    """
    require_other_file(output, checkpoint)
    state, config, model = load_translation_model(checkpoint)
    require_whole_positions(checkpoint, config)
    _require_input_only(checkpoint, config)
    lengths = Lengths.of(model, positions)
    cfg = _parts(checkpoint, state)
    options = {**model_options(state), **_stock_positions(config, lengths)}
    for side in config.sides:  # the file lacks the blocks that were taken out
        layers = len(getattr(model, side).layers)
        options |= {f"{side}_layers": layers, f"{side}_layers_to_keep": None}
    state["cfg"], state["args"] = _configuration(cfg, options, lengths), None
    with naming(checkpoint):
        state["model"] = _weights(state["model"], model, lengths)
    forget_training(state)
    write_checkpoint(state, output)
    return lengths


def _require_input_only(checkpoint: Path, config: FloaterTransformerConfig) -> None:
    if config.injection == "bias":
        place = "biases of queries, keys and values (--position-injection bias)"
    elif config.injection in WITHIN_ATTENTION:
        place = f"{config.injection} within attention (--position-injection {config.injection})"
    elif config.injection is not None and config.position_blocks == "all":
        place = "vectors added at all blocks (--position-blocks all)"
    elif config.position_shift:
        place = f"positions that start at {config.position_shift} (--position-shift)"
    elif config.attention_log_scale is not None:
        place = "logits that grow with the length (--attention-log-scale)"
    else:
        return
    raise UserError(
        f"{checkpoint} has --position-encoder {config.position_encoder} with {place}; fairseq's "
        "transformer adds positions at the input only and has no place for these: use --to "
        "huggingface, onnx or torch"
    )


def _stock_positions(config: FloaterTransformerConfig, lengths: Lengths) -> Dict[str, Any]:
    learned = config.encoder_class.learns  # fairseq computes the others itself
    return {
        "encoder_learned_pos": learned,
        "decoder_learned_pos": learned,
        "no_token_positional_embeddings": config.injection is None,
        "max_source_positions": lengths.source,
        "max_target_positions": lengths.target,
    }


def _parts(checkpoint: Path, state: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Return the parts of a checkpoint's configuration; raises ``UserError`` if one is missing."""
    cfg = state.get("cfg")
    if not isinstance(cfg, Mapping):
        try:
            cfg = _of_arguments(state["args"])
        except Exception as error:  # hydra and fairseq raise errors of every kind
            raise options_error(
                checkpoint, f"fairseq refuses them ({first_line(error)})"
            ) from error
    parts = {name: vars(p) if isinstance(p, Namespace) else p for name, p in cfg.items()}
    for name in ("task", "common"):
        if not isinstance(parts.get(name), Mapping):
            raise options_error(checkpoint, f"nothing is said about the {name}")
    if not isinstance(parts["task"].get("_name"), str):
        raise options_error(checkpoint, "the task has no name")
    return parts


def _of_arguments(args: Namespace) -> Dict[str, Any]:
    """Return the configuration for options that were written as fairseq did before 2020."""
    cfg = convert_namespace_to_omegaconf(args)
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)


def _configuration(
    parts: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], lengths: Lengths
) -> Dict[str, Any]:
    """Return the parts of a fairseq configuration, without anything of ours."""
    ours = {f.name for f in fields(PositionOptions)}
    task = _limited(parts["task"], lengths)
    model = {
        **task,  # the options of a legacy model are all those of the command line
        **{name: value for name, value in options.items() if name not in ours},
        "task": task["_name"],
        "arch": "transformer",
        "_name": "transformer",
    }
    # The options of a legacy model also name the criterion, and the folder of the plugin.
    changed = {"common": parts["common"], "model": model, "criterion": parts.get("criterion")}
    stock = {name: _in_stock(part) for name, part in changed.items() if part is not None}
    return {**parts, **stock, "task": task, "model": _items_and_attributes(stock["model"])}


def _in_stock(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return options that name fairseq's criterions in place of ours, and no folder of ours."""
    named = {name: STOCK_CRITERIONS.get(options.get(name)) for name in ("criterion", "_name")}
    folder = {"user_dir": None} if "user_dir" in options else {}
    return {**options, **{name: stock for name, stock in named.items() if stock}, **folder}


def _limited(task: Mapping[str, Any], lengths: Lengths) -> Dict[str, Any]:
    """Return the task's options with the model's limits; a lower limit was chosen, and stays."""
    limited = dict(task)
    for side, length in zip(("source", "target"), lengths):
        limit = limited.get(f"max_{side}_positions", DEFAULT_POSITIONS)
        wish = limit if isinstance(limit, int) and limit < DEFAULT_POSITIONS else length
        limited[f"max_{side}_positions"] = min(wish, length)
    return limited


def _items_and_attributes(options: Mapping[str, Any]) -> "OrderedDict[str, Any]":
    """Return options that can be read as attributes, as from fairseq's ``argparse.Namespace``.

    From torch 2.6 on, a checkpoint with a Namespace is refused unless the class has been allowed,
    which neither stock fairseq nor CTranslate2's converter does. A plain dict can be loaded, but
    has no attributes for the latter. An OrderedDict has them, and torch keeps them.
    """
    both = OrderedDict(options)
    vars(both).update(options)
    return both


def _weights(
    weights: Mapping[str, Tensor],
    model: FloaterTransformerModel,
    lengths: Lengths,
) -> "OrderedDict[str, Tensor]":
    ours = ".position_encoder."
    stock = OrderedDict((n, w) for n, w in weights.items() if ours not in new_name(n))
    for (name, stack), length in zip(model.stacks().items(), lengths):
        encoder = stack.position_encoder
        if encoder is not None and encoder.learns:
            stock[f"{name}.embed_positions.weight"] = _table(encoder, stack.padding_idx, length)
    return stock


def _table(encoder: PositionEncoder, padding_idx: int, length: int) -> Tensor:
    """Return (padding_idx + 1 + length, dim): fairseq counts positions from after the pad's row."""
    with torch.no_grad():
        vectors = encoder(length)[0]
    unused = vectors.new_zeros(padding_idx + 1, vectors.size(1))
    return torch.cat([unused, vectors])
