"""A trained base model as a ``floater_transformer`` checkpoint that computes the same."""

from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_floater.checkpoints.files import forget_averages, write_checkpoint
from fairseq_floater.checkpoints.huggingface import Converted, read_huggingface
from fairseq_floater.checkpoints.loading import build_model, load_weights, read_existing
from fairseq_floater.checkpoints.options import options_of
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file, write_text
from fairseq_floater.models.description import model_options
from fairseq_floater.models.floater_roberta import HEADS
from fairseq_floater.models.kinds import ModelKind, kind_of
from fairseq_floater.models.renamed import with_new_names
from fairseq_floater.models.warm_start import Weights, different_options, other_shift
from fairseq_floater.options import PositionOptions

#: the options of a base encoding other than sinusoids
BASE_ENCODING = ("encoder_learned_pos", "decoder_learned_pos", "no_token_positional_embeddings")


#: options of a model of ours that no new position encoder replaces
KEPT = (
    *("position_shift", "attention_log_scale"),
    *("position_times", "sentence_separator", "sentence_gap"),
)


def convert(
    base: Path, output: Path, positions: Dict[str, Any], arch: Optional[str] = None, seed: int = 1
) -> None:
    """Write ``base`` with learned positions that start at nothing, without an optimizer's state.

    Args:
        base: checkpoint of fairseq's ``transformer`` or ``roberta``, or of ours without learned
            positions.
        output: checkpoint to write.
        positions: fields of ``PositionOptions`` that are not at their defaults.
        arch: an architecture whose shape the base model must have; any shape when not given.
        seed: of those new weights that do not start at 0.

    Raises:
        UserError: if ``base`` is no such checkpoint, something does not fit, or ``output`` is
            ``base``.
    """
    require_other_file(output, base)
    state = with_positions(base, read_existing(base), positions, arch, seed)
    write_checkpoint(state, output)


def convert_huggingface(
    folder: Path,
    output: Path,
    positions: Mapping[str, Any],
    arch: Optional[str] = None,
    seed: int = 1,
) -> Converted:
    """``convert`` of a BERT or RoBERTa of Hugging Face's, with what fairseq reads beside it.

    Those are its dictionary, ``dict.txt``, and its ``tokenizer.json``, which go where ``output``
    goes.

    Args:
        folder: with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        output, positions, arch, seed: as for ``convert``.

    Raises:
        UserError: as ``convert`` and ``read_huggingface``, or if a dictionary or a tokenizer of
            another model is there, or ``output`` is one of the files read or to be written.
    """
    names = ("config.json", "model.safetensors", "tokenizer.json")
    require_other_file(output, *(folder / name for name in names))
    if output.name in ("dict.txt", "tokenizer.json"):
        raise UserError(f"{output} is where its {output.name} goes: give another name, as model.pt")
    converted = read_huggingface(folder, seed)
    texts = {
        "dict.txt": "".join(f"{piece} 1\n" for piece in converted.dictionary),
        "tokenizer.json": (folder / "tokenizer.json").read_text("utf-8"),
    }
    for name, text in texts.items():
        beside = output.parent / name
        if beside.exists() and beside.read_text("utf-8", errors="replace") != text:
            raise UserError(
                f"{beside} is there, of another model, and {output.name} would need its own: write "
                "to another folder"
            )
    state = with_positions(folder, converted.state, positions, arch, seed)
    for name, text in texts.items():
        write_text(output.parent / name, text)
    write_checkpoint(state, output)
    return converted


def with_positions(
    base: Path,
    state: Dict[str, Any],
    positions: Mapping[str, Any],
    arch: Optional[str] = None,
    seed: int = 1,
) -> Dict[str, Any]:
    """``convert`` of a state that was read, which is used up; ``base`` is the name of its file."""
    there = model_options(state)
    if not there:
        raise UserError(f"{base} does not say what model it is of: train it with fairseq-train")
    with_new_names(state["model"])
    if any(".position_encoder." in name for name in state["model"]):
        raise UserError(
            f"{base} has learned positions already, of --position-encoder "
            f"{there.get('position_encoder')}: train it on with --finetune-from-model {base}"
        )
    options_of(base, state)
    kind = kind_of(there)
    assert kind is not None  # or options_of had said so
    if arch is not None:
        _check_shape(base, there, kind, arch)
    kept = {name: there[name] for name in KEPT if name in there}
    chosen = {**vars(PositionOptions()), **kept, **positions}
    if change := other_shift(there, chosen):
        raise UserError(f"{base}: {change}; give it to fairseq-train --finetune-from-model {base}")
    options = PositionOptions(**chosen)
    if not options.keeps_input or options.base_positions in ("sinusoidal", "learned", "none"):
        chosen |= dict.fromkeys(BASE_ENCODING, False)  # it is replaced, or said otherwise
    config = kind.model.Config.of({**there, **chosen})
    torch.manual_seed(seed)
    model = build_model(base, config, state)
    load_weights(model, Weights.of(state["model"], str(base), there))
    precision = state["model"][kind.words["source_dictionary"]].dtype
    heads = {name: w for name, w in state["model"].items() if name.startswith(HEADS)}
    state["model"] = OrderedDict({**model.to(precision).state_dict(), **heads})
    state["last_optimizer_state"] = None
    forget_averages(state)
    name = arch or kind.name
    if isinstance(state.get("cfg"), Mapping):
        state["cfg"] = {**state["cfg"], "model": {**vars(config), "_name": name}}
    else:
        state["args"] = Namespace(**{**vars(state["args"]), **chosen, "arch": name})
    return state


def _check_shape(base: Path, there: Dict[str, Any], kind: ModelKind, arch: str) -> None:
    known = sorted(name for name in ARCH_CONFIG_REGISTRY if name.startswith(kind.name))
    if arch not in known:
        raise UserError(f"no architecture {arch}: choose from {', '.join(known)}")
    args = Namespace(arch=arch)
    ARCH_CONFIG_REGISTRY[arch](args)
    if different := different_options(there, vars(args)):
        raise UserError(f"{base} is no {arch}: {'; '.join(different)} (or leave out --arch)")
