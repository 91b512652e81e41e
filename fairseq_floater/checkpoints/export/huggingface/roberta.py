"""``floater export --to huggingface`` of a ``floater_roberta``.

    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True)

or ``AutoModelForQuestionAnswering`` if the model has a head of answers, and ``AutoModel`` for any
model. The tokenizer is the one that the model came with, so the rows of its words are put back
into the order of that tokenizer.
"""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.processors import ByteLevel, Sequence, TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from fairseq_floater.blocks.positioned import UNLIMITED
from fairseq_floater.checkpoints.export import (
    length_of,
    refuse,
    require_whole_positions,
    require_without,
)
from fairseq_floater.checkpoints.export.huggingface.remote.modeling_floater_roberta import (
    FloaterRobertaConfig,
    FloaterRobertaForQuestionAnswering,
    FloaterRobertaForSequenceClassification,
    FloaterRobertaModel,
)
from fairseq_floater.checkpoints.export.huggingface.stack import (
    plain,
    require_known_activation,
    side_of,
)
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.criterions.answer_span import SPAN_HEAD
from fairseq_floater.data import PieceTokenizer, read_dictionary, read_pieces
from fairseq_floater.errors import UserError, naming
from fairseq_floater.files import written_folder
from fairseq_floater.models.description import task_options
from fairseq_floater.models.floater_roberta import HEADS


def export_roberta(
    checkpoint: Path,
    output: Path,
    data: Path,
    positions: Optional[int] = None,
    labels: Optional[Path] = None,
) -> int:
    """Write the folder of a checkpoint, and return the rows of its tables.

    Args:
        checkpoint: the checkpoint to read, with or without a head.
        output: the folder to write.
        data: a folder with the dict.txt and tokenizer.json of the model.
        positions: the rows of the tables, which are continued beyond them; if None, those of a
            learned table, or 1,024.
        labels: a dictionary with the names of the classes, such as ``bin/label/dict.txt``.

    Raises:
        UserError: if the model has several heads, or positions that no table holds, if its data do
            not fit it, if a learned table is shorter than ``positions``, or if there is something
            at ``output``.
    """
    with written_folder(output) as folder:
        state, config, model = load_model(checkpoint)
        require_known_activation(checkpoint, config.activation_fn)
        require_whole_positions(checkpoint, config)
        stack: Any = next(iter(model.stacks().values()))
        if not len(stack.layers):
            refuse(checkpoint, "encoder has no blocks")
        if any(name.endswith(".out_proj.weight_orig") for name in state["model"]):
            refuse(checkpoint, "--spectral-norm-classification-head makes weights at every pass")
        require_without(checkpoint, config, "quant_noise_pq")
        words = len(stack.embed_tokens.weight)
        length, limit = length_of(stack, positions), stack.max_positions()
        rows, tokenizer = _tokenizer(data, words, limit, _separators(task_options(state)))
        with naming(checkpoint):
            side, tensors = side_of(stack, model.options, length)
        weights = {f"stack.{n}": weight for n, weight in plain(stack.state_dict()).items()}
        weights["stack.embed_tokens.weight"] = weights["stack.embed_tokens.weight"][rows]
        weights |= {f"stack.positions.{name}": tensor for name, tensor in tensors.items()}
        side |= {"words": len(rows), "padding": tokenizer.pad_token_id}
        head = _head(checkpoint, state["model"])
        _build(side, weights, head, model.options, tokenizer, labels).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return length


def _head(checkpoint: Path, weights: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Return the weights of the only head, without its name; those of answers as ``span.*``."""
    heads: Dict[str, Dict[str, Tensor]] = {}
    for name, weight in weights.items():
        if name.startswith(HEADS):
            head, _, part = name.removeprefix(HEADS).partition(".")
            heads.setdefault(head, {})[part] = weight
    if len(heads) > 1:
        raise UserError(
            f"{checkpoint} has the heads {', '.join(heads)}, but a folder for transformers has "
            "only one: export a checkpoint of one task"
        )
    for name, parts in heads.items():
        return {f"span.{n}": w for n, w in parts.items()} if name == SPAN_HEAD else parts
    return {}


def _build(
    side: Dict[str, Any],
    weights: Dict[str, Tensor],
    head: Dict[str, Tensor],
    options: Mapping[str, Any],
    tokenizer: Any,
    labels: Optional[Path],
) -> Any:
    """Build the model for transformers, with its head."""
    kind: Any = FloaterRobertaModel
    if "span.weight" in head:
        kind = FloaterRobertaForQuestionAnswering
    elif head:
        kind = FloaterRobertaForSequenceClassification
    config = FloaterRobertaConfig(
        side,
        head_activation=str(options["pooler_activation_fn"]),
        head_dropout=float(options["pooler_dropout"]),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    if labels is not None and "out_proj.weight" not in head:
        raise UserError(f"--labels {labels} names classes, but this model has none: leave it out")
    if "out_proj.weight" in head:
        names = _class_names(labels, len(head["out_proj.weight"]))
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
    if head:
        weights = {f"roberta.{name}": weight for name, weight in weights.items()} | head
    # The model is of use without its head, too.
    config.auto_map = {"AutoModel": f"modeling_floater_roberta.{FloaterRobertaModel.__name__}"}
    exported = kind(config)
    exported.load_state_dict(weights)
    return exported.eval()


def _class_names(labels: Optional[Path], count: int) -> List[str]:
    """Return the names in a label dictionary, in the order of the head's classes, or numbers."""
    if labels is None:
        return [f"LABEL_{number}" for number in range(count)]
    if not labels.is_file():
        raise UserError(f"no labels at {labels}: give the path of a label/dict.txt")
    dictionary = read_dictionary(labels)
    names = dictionary.symbols[dictionary.nspecial :]
    # fairseq-preprocess fills dictionaries up to a multiple of 8.
    real = [name for name in names if not name.startswith("madeupword")]
    if len(names) < count or len(real) > count:
        raise UserError(
            f"{labels} has {len(real)} labels, but the model has {count} classes: give the file "
            "that it was trained with"
        )
    return names[:count]


def _separators(task: Mapping[str, Any]) -> Optional[int]:
    """Return how many separators a task puts between two texts; None if it does not say."""
    if "double_separator" in task:
        return 2 if task["double_separator"] else 1
    if "separator_token" in task:  # beside the one that ends the first text
        return 1 if task["separator_token"] is None else 2
    return None


def _tokenizer(data: Path, words: int, limit: int, separators: Optional[int]) -> Any:
    """Return the row of fairseq's words for each number of the tokenizer, and the tokenizer."""
    fix = "give the folder of the base model as --data"
    dictionary, path = read_pieces(data, fix), data / "dict.txt"
    if len(dictionary) != words:
        raise UserError(
            f"{path} has {len(dictionary):,} words with the mask, but the model has "
            f"{words:,}: {fix}"
        )
    pieces = PieceTokenizer(data / "tokenizer.json")
    pieces.require_known(dictionary, path)
    rows = torch.tensor([dictionary.index(name) for name in pieces.vocabulary()])
    by_name = {ours: theirs for theirs, ours in pieces.special.items()}
    return rows, PreTrainedTokenizerFast(
        tokenizer_object=_with_ends(Tokenizer.from_file(str(pieces.path)), by_name, separators),
        cls_token=by_name["<s>"],
        sep_token=by_name["</s>"],
        pad_token=by_name["<pad>"],
        unk_token=by_name["<unk>"],
        mask_token=by_name["<mask>"],
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
        **({} if limit == UNLIMITED else {"model_max_length": limit}),
    )


def _with_ends(
    tokenizer: Tokenizer, by_name: Mapping[str, str], separators: Optional[int]
) -> Tokenizer:
    """Put special pieces around texts as in training, and neither cut nor fill them.

    The files of sentence encoders ask for both. Where the training did not put texts together, the
    tokenizer's own way remains, or else that of its kind.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    begin, end = by_name["<s>"], by_name["</s>"]
    if tokenizer.post_processor is not None:
        there = tokenizer.encode("", "").tokens.count(end) - 1  # -1 if it puts none anywhere
        if there > 0 and separators in (None, there):
            return tokenizer
    separators = separators or (1 if isinstance(tokenizer.model, WordPiece) else 2)
    ends = TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {' '.join([end] * separators)} $B {end}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (begin, end)],
    )
    # As in RoBERTa, a piece's characters do not include the space before it.
    byte_level = isinstance(tokenizer.model, BPE)
    trimmed = Sequence([ByteLevel(trim_offsets=True), ends])
    tokenizer.post_processor = trimmed if byte_level else ends
    return tokenizer
