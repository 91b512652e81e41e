"""Turn a trained base model into a checkpoint of one of our models that computes the same."""

from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_floater.checkpoints.files import forget_training, write_checkpoint
from fairseq_floater.checkpoints.huggingface import Converted, read_huggingface
from fairseq_floater.checkpoints.loading import build_model, load_weights, read_existing
from fairseq_floater.checkpoints.options import options_of
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file, write_text
from fairseq_floater.models.description import model_options
from fairseq_floater.models.floater_roberta import HEADS
from fairseq_floater.models.kinds import ModelKind, kind_of
from fairseq_floater.models.renamed import with_new_names
from fairseq_floater.models.warm_start import Weights, different_options, other_places
from fairseq_floater.options import PositionOptions

#: the options of a base encoding other than sinusoids
BASE_ENCODING = ("encoder_learned_pos", "decoder_learned_pos", "no_token_positional_embeddings")


#: options of our own models that a new position encoder does not replace
KEPT = (
    *("position_shift", "attention_log_scale"),
    *("position_times", "sentence_separator", "sentence_gap"),
)


def convert(
    base: Path, output: Path, positions: Dict[str, Any], arch: Optional[str] = None, seed: int = 1
) -> None:
    """Write ``base`` with learned positions that have no effect at first.

    The optimizer's state is left out.

    Args:
        base: a checkpoint of fairseq's ``transformer`` or ``roberta``, or of a model of ours
            without learned positions.
        output: the checkpoint to write.
        positions: the fields of ``PositionOptions`` that are not at their defaults.
        arch: an architecture whose shape the base model must have; by default, any shape will do.
        seed: the seed of those new weights that do not start at 0.

    Raises:
        UserError: if ``base`` is not such a checkpoint, something does not fit, or ``output`` is
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
    """Convert a BERT or RoBERTa from Hugging Face's format; see ``convert``.

    The two files that fairseq reads beside the checkpoint, the dictionary ``dict.txt`` and
    ``tokenizer.json``, are written to the same folder as ``output``.

    Args:
        folder: a folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
        output, positions, arch, seed: as for ``convert``.

    Raises:
        UserError: as for ``convert`` and ``read_huggingface``; also if the dictionary or tokenizer
            of another model is there, or ``output`` is one of the files to be read or written.
    """
    names = ("config.json", "model.safetensors", "tokenizer.json")
    require_other_file(output, *(folder / name for name in names))
    if output.name in ("dict.txt", "tokenizer.json"):
        raise UserError(
            f"{output} is where its {output.name} is written: give another name, such as model.pt"
        )
    converted = read_huggingface(folder, seed)
    texts = {
        "dict.txt": "".join(f"{piece} 1\n" for piece in converted.dictionary),
        "tokenizer.json": (folder / "tokenizer.json").read_text("utf-8"),
    }
    for name, text in texts.items():
        beside = output.parent / name
        if beside.exists() and beside.read_text("utf-8", errors="replace") != text:
            raise UserError(
                f"{beside} is there already, of another model, but {output.name} needs its own: "
                "write to another folder"
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
    """As ``convert``, for a state that was read from the file ``base``; the state is used up."""
    there = model_options(state)
    if not there:
        raise UserError(f"{base} does not say which model it holds: train it with fairseq-train")
    with_new_names(state["model"])
    if any(".position_encoder." in name for name in state["model"]):
        raise UserError(
            f"{base} has learned positions already, of --position-encoder "
            f"{there.get('position_encoder')}: go on training it with --finetune-from-model {base}"
        )
    options_of(base, state)  # which checks them
    kind = kind_of(there)
    assert kind is not None  # otherwise options_of would have raised
    if arch is not None:
        _check_shape(base, there, kind, arch)
    kept = {name: there[name] for name in KEPT if name in there}
    chosen = {**vars(PositionOptions()), **kept, **positions}
    if shift := other_places(there, chosen, ["position_shift"]):
        raise UserError(
            f"{base}: {shift[0]}; give it to fairseq-train --finetune-from-model {base}"
        )
    options = PositionOptions(**chosen)
    if not options.keeps_input or options.base_positions in ("sinusoidal", "learned", "none"):
        chosen |= dict.fromkeys(BASE_ENCODING, False)  # it is replaced, or set by base_positions
    config = kind.model.Config.of({**there, **chosen})
    torch.manual_seed(seed)
    model = build_model(base, config, state)
    load_weights(model, Weights.of(state["model"], str(base), there))
    precision = state["model"][kind.words["source_dictionary"]].dtype
    heads = {name: w for name, w in state["model"].items() if name.startswith(HEADS)}
    state["model"] = OrderedDict({**model.to(precision).state_dict(), **heads})
    forget_training(state)
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
        raise UserError(f"{base} is not a {arch}: {'; '.join(different)} (or leave out --arch)")
