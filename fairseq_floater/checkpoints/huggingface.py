"""Read the folder of a Hugging Face BERT or RoBERTa as a checkpoint of fairseq's ``roberta``.

The two compute the same except in four respects. fairseq's dictionary begins with its special
pieces and ends with the mask, so the rows of the word table change places. Its position table has
two more rows, before the first position. It has no token types: that of a first sentence is added
to every position. And what layer normalisation adds to a variance is an option of our models only.
"""

import json
import re
from argparse import Namespace
from itertools import count, islice
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.roberta.model import RobertaLMHead
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from safetensors import safe_open
from torch import Tensor

from fairseq_floater.checksums import is_of_the_machine, unreadable
from fairseq_floater.data import PieceTokenizer
from fairseq_floater.data.tokenizer_json import SPECIAL
from fairseq_floater.errors import DamagedCheckpoint, UserError, first_line
from fairseq_floater.models.weight_checks import require_sound

#: how many rows the position table of each type of model has before the first position
UNUSED_ROWS = {"bert": 0, "roberta": 2, "xlm-roberta": 2, "camembert": 2}
#: their activations, and fairseq's names for them
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_accurate", "relu": "relu"}

#: names of weights in a folder, and in fairseq's stack or masked-LM head
_STACK = {
    r"embeddings\.word_embeddings": "embed_tokens",
    r"embeddings\.position_embeddings": "embed_positions",
    r"embeddings\.LayerNorm": "layernorm_embedding",
    r"encoder\.layer\.(\d+)\.attention\.self\.query": "layers.{}.self_attn.q_proj",
    r"encoder\.layer\.(\d+)\.attention\.self\.key": "layers.{}.self_attn.k_proj",
    r"encoder\.layer\.(\d+)\.attention\.self\.value": "layers.{}.self_attn.v_proj",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense": "layers.{}.self_attn.out_proj",
    r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm": "layers.{}.self_attn_layer_norm",
    r"encoder\.layer\.(\d+)\.intermediate\.dense": "layers.{}.fc1",
    r"encoder\.layer\.(\d+)\.output\.dense": "layers.{}.fc2",
    r"encoder\.layer\.(\d+)\.output\.LayerNorm": "layers.{}.final_layer_norm",
}
_HEAD = {
    r"cls\.predictions\.transform\.dense|lm_head\.dense": "dense",
    r"cls\.predictions\.transform\.LayerNorm|lm_head\.layer_norm": "layer_norm",
    r"(?:cls\.predictions|lm_head)\.decoder": "",  # its bias is another name for the head's
    r"cls\.predictions|lm_head": "",
}
_TYPES = "embeddings.token_type_embeddings.weight"
#: what fairseq reads about the training, for a model that it has not trained
_UNTRAINED: Dict[str, Any] = {
    "optimizer_history": [
        {
            "num_updates": 0,
            "criterion_name": "",
            "optimizer_name": "",
            "lr_scheduler_state": {},
        }
    ],
    "last_optimizer_state": None,
    "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    "task_state": {},
}

STACK, HEAD = "encoder.sentence_encoder.", "encoder.lm_head."
WORDS, POSITIONS = f"{STACK}embed_tokens.weight", f"{STACK}embed_positions.weight"


class Converted(NamedTuple):
    """A model that was read.

    Attributes:
        state: that of a ``roberta`` checkpoint, with ``layer_norm_eps`` beside its options.
        dictionary: the pieces between fairseq's special ones, in fairseq's order.
        left_out: names of weights that ``roberta`` has no place for.
        has_head: whether its masked-LM head was taken over; if not, a new one is in its place.
    """

    state: Dict[str, Any]
    dictionary: List[str]
    left_out: List[str]
    has_head: bool


def read_huggingface(folder: Path, seed: int = 1) -> Converted:
    """Read ``config.json``, ``model.safetensors`` and ``tokenizer.json``.

    Args:
        folder: the folder of the model.
        seed: the seed of a new masked-LM head.

    Raises:
        UserError: if one of the files is missing or damaged, or describes another kind of model.
    """
    config = read_config(folder)
    tokenizer = PieceTokenizer(folder / "tokenizer.json")
    names = tokenizer.vocabulary()
    size = config["vocab_size"]
    if len(names) > size:
        raise UserError(
            f"{folder / 'tokenizer.json'} has {len(names):,} pieces, but the vocab_size of "
            f"{folder / 'config.json'} is {size:,}: get both files of one model again"
        )
    fillers, known = (f"madeupword{number:04d}" for number in count()), set(names)
    names += islice((name for name in fillers if name not in known), size - len(names))
    first = [names.index(name) for name in SPECIAL if name != "<mask>"]
    between = [number for number, name in enumerate(names) if name not in SPECIAL]
    order = torch.tensor([*first, *between, names.index("<mask>")])
    path = folder / "model.safetensors"
    found = _read_weights(path)
    weights, left_out = _renamed(found)
    if config["model_type"] != "bert" and config["hidden_act"] != "gelu":
        # Its head always has gelu, and fairseq's has the activation of the blocks.
        left_out += [name for name in found if (fairseqs_name(name) or "").startswith(HEAD)]
        weights = {name: w for name, w in weights.items() if not name.startswith(HEAD)}
    _require_all(path, weights, config["num_hidden_layers"])
    _reorder(path, weights, order)
    _fold_types(path, weights, found, config)
    options = _options(config)
    has_head = f"{HEAD}dense.weight" in weights
    if not has_head:
        weights |= _new_head(weights[WORDS], options.activation_fn, seed)
    own = weights.setdefault(f"{HEAD}weight", weights[WORDS])
    options.untie_weights_roberta = not torch.equal(own, weights[WORDS])
    state = {"args": options, "cfg": None, "model": weights, **_UNTRAINED}
    return Converted(state, [names[number] for number in between], left_out, has_head)


def read_config(folder: Path) -> Dict[str, Any]:
    """Return the options in ``config.json``, with defaults for those that may be left out.

    Raises:
        UserError: naming the file and, if one cannot be converted, the option.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"no {path}: give the folder of a Hugging Face model")
    try:
        config = json.loads(path.read_text("utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no options")
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): copy it again") from None
    config = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, **config}
    allowed: Dict[str, Any] = {
        "model_type": UNUSED_ROWS,
        "hidden_act": ACTIVATIONS,
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
    }
    if config.get("model_type") != "bert":
        allowed["pad_token_id"] = (1, None)  # positions are counted from the row after this one
    for name, values in allowed.items():
        if not any(config.get(name) == value for value in values):
            known = ", ".join(str(value) for value in values if value is not None)
            raise UserError(
                f"{path} has {name} {config.get(name)!r}, which cannot be converted: it must be "
                f"one of {known}"
            )
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    for name in (*sizes, "max_position_embeddings", "vocab_size"):
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise UserError(
                f"{path} has {name} {config.get(name)!r}, not a whole number >= 1: get the "
                "file again"
            )
    return config


def _options(config: Mapping[str, Any]) -> Namespace:
    """Return the options of ``roberta``, by fairseq's names."""
    options = Namespace(
        arch="roberta",
        task="masked_lm",
        criterion="masked_lm",
        data="",
        encoder_layers=config["num_hidden_layers"],
        encoder_embed_dim=config["hidden_size"],
        encoder_ffn_embed_dim=config["intermediate_size"],
        encoder_attention_heads=config["num_attention_heads"],
        activation_fn=ACTIVATIONS[config["hidden_act"]],
        dropout=config.get("hidden_dropout_prob", 0.1),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
        max_positions=config["max_position_embeddings"] - UNUSED_ROWS[config["model_type"]],
        layer_norm_eps=config["layer_norm_eps"],
    )
    options.tokens_per_sample = options.max_positions
    ARCH_CONFIG_REGISTRY["roberta"](options)
    return options


def _read_weights(path: Path) -> Dict[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"no {path}: the weights must be in this one file; save the model with "
            "safe_serialization and max_shard_size above its size"
        )
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except PermissionError:
        raise
    except Exception as error:  # such as SafetensorError
        if is_of_the_machine(error):
            raise unreadable(path, error) from None
        raise DamagedCheckpoint(path, first_line(error)) from None
    require_sound(path, weights)
    return weights


def _renamed(found: Dict[str, Tensor]) -> Tuple[Dict[str, Tensor], List[str]]:
    """Return the weights under fairseq's names, and the names of those that have no place there."""
    weights, left_out = {}, []
    for name, weight in found.items():
        ours = fairseqs_name(name)
        if ours is not None:
            weights[ours] = weight.float()
        elif not name.endswith((_TYPES, "position_ids")):
            left_out.append(name)
    return weights, left_out


def fairseqs_name(name: str) -> Optional[str]:
    """Return the name of a weight in fairseq's ``roberta``, or None if it has no counterpart."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)  # in the first BERTs
    name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    name = re.sub(r"^(bert|roberta)\.", "", name)
    part, _, end = name.rpartition(".")
    for prefix, parts in ((STACK, _STACK), (HEAD, _HEAD)):
        for pattern, ours in parts.items():
            match = re.fullmatch(pattern, part)
            if match and end in ("weight", "bias"):
                return prefix + ".".join(filter(None, (ours.format(*match.groups()), end)))
    return None


def _require_all(path: Path, weights: Mapping[str, Tensor], layers: int) -> None:
    """Raise a ``DamagedCheckpoint`` if a block or a table is missing."""
    wanted = {STACK + part.format(number) for part in _STACK.values() for number in range(layers)}
    there = {name.rpartition(".")[0] for name in weights}
    if missing := sorted(wanted - there):
        raise DamagedCheckpoint(path, f"nothing in it corresponds to fairseq's {missing[0]}")


def _reorder(path: Path, weights: Dict[str, Tensor], order: Tensor) -> None:
    """Put the weights with a row for each piece into the order of fairseq's dictionary."""
    for name in (WORDS, f"{HEAD}weight", f"{HEAD}bias"):
        if name in weights:
            if len(weights[name]) != len(order):
                raise DamagedCheckpoint(
                    path, f"it has {len(weights[name]):,} pieces, not {len(order):,}", name
                )
            weights[name] = weights[name][order]


def _fold_types(
    path: Path, weights: Dict[str, Tensor], found: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Put two rows before the first position, and add a first sentence's type to all positions."""
    unused = UNUSED_ROWS[config["model_type"]]
    rows = weights[POSITIONS]  # (unused + positions, dim)
    if len(rows) != config["max_position_embeddings"]:
        wanted = config["max_position_embeddings"]
        raise DamagedCheckpoint(path, f"it has {len(rows)} positions, not {wanted}", POSITIONS)
    rows = rows[unused:]
    types = [weight for name, weight in found.items() if name.endswith(_TYPES)]
    rows = rows + types[0][0].float() if types else rows
    weights[POSITIONS] = torch.cat([torch.zeros_like(rows[:1]).expand(2, -1), rows])


def _new_head(words: Tensor, activation: str, seed: int) -> Dict[str, Tensor]:
    """Return the weights, by name, of a new masked-LM head, initialised as BERT's is."""
    torch.manual_seed(seed)
    head = RobertaLMHead(words.size(1), len(words), activation, words)
    head.apply(init_bert_params)
    return {HEAD + name: weight for name, weight in head.state_dict().items()}
