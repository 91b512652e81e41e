"""``floater export --to huggingface``: a folder that transformers loads and generates with.

    model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)

It has the weights, the configuration, the tokenizer, and the files of ``remote`` that run them,
with a cache of keys and values and with every kind of position. What cannot be exported:

- an adaptive softmax, attention by xFormers, and a decoder whose attention reads source and target
  together (--cross-self-attention);
- a decoder whose input or output is not as wide as its blocks;
- tokens that do not stand at whole positions (--position-times).
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from torch import Tensor
from transformers import GenerationConfig

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.checkpoints.export import Lengths, require_whole_positions
from fairseq_floater.checkpoints.export.corpus import Corpus
from fairseq_floater.checkpoints.export.huggingface.remote.modeling_floater import (
    FloaterConfig,
    FloaterForConditionalGeneration,
)
from fairseq_floater.checkpoints.export.huggingface.remote.tokenization_floater import (
    FloaterTokenizer,
)
from fairseq_floater.checkpoints.export.huggingface.tables import Exported
from fairseq_floater.checkpoints.loading import load_translation_model
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.rotary import rotated_pairs
from fairseq_floater.errors import UserError, naming
from fairseq_floater.files import written_folder
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel

#: fairseq's names of activations, as transformers has them
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

_REFUSED = {
    "adaptive_softmax_cutoff": "gives no logits of the whole vocabulary",
    "encoder_xformers_att_config": "is not torch's own attention",
    "decoder_xformers_att_config": "is not torch's own attention",
    "cross_self_attention": "reads source and target together",
}


#: the encoders of a stack, and the argument that brings their tracks to a block
_PARTS = {
    "position_encoder": "position_tracks",
    "base_encoder": "base_tracks",
    "input_encoder": None,
}


def export_huggingface(
    checkpoint: Path, output: Path, data: Path, positions: Optional[int] = None
) -> Lengths:
    """Write the folder of a ``floater_transformer`` checkpoint.

    Args:
        checkpoint: to read.
        output: folder to write.
        data: see ``corpus.Corpus``.
        positions: rows of the tables, beyond which they are continued, see ``Lengths.of``.

    Raises:
        UserError: if the model cannot be exported, its data do not fit it, or there is something
            at ``output`` already.
    """
    with written_folder(output) as folder, tempfile.TemporaryDirectory() as words:
        model = load_exportable(checkpoint)
        lengths, corpus = Lengths.of(model, positions), Corpus.read(data, model)
        tokenizer = _tokenizer(corpus, Path(words))
        with naming(checkpoint):
            build_exported(model, lengths).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return lengths


def load_exportable(checkpoint: Path) -> FloaterTransformerModel:
    """The model of a checkpoint, if it can be exported; raises as ``export_huggingface``."""
    _, config, model = load_translation_model(checkpoint)
    require_whole_positions(checkpoint, config)
    _require_exportable(checkpoint, config, model)
    return model


def _require_exportable(
    checkpoint: Path, config: FloaterTransformerConfig, model: FloaterTransformerModel
) -> None:
    for option, why in _REFUSED.items():
        if getattr(config, option):
            raise UserError(
                f"{checkpoint} cannot be exported, its {flag_name(option)} {why}: use it in "
                "fairseq, with the plugin"
            )
    decoder = model.decoder
    if decoder.project_in_dim is not None or decoder.project_out_dim is not None:
        raise UserError(
            f"{checkpoint} cannot be exported, its --decoder-input-dim or --decoder-output-dim is "
            "not that of its blocks: use it in fairseq, with the plugin"
        )
    if config.activation_fn not in _ACTIVATIONS:
        raise UserError(
            f"{checkpoint} cannot be exported, transformers has no --activation-fn "
            f"{config.activation_fn}: use it in fairseq, with the plugin"
        )


def build_exported(model: FloaterTransformerModel, lengths: Lengths) -> Any:
    """The model as transformers has it, with tables of these lengths."""
    weights = {name: weight for name, weight in model.state_dict().items() if _is_plain(name)}
    sides: Dict[str, Dict[str, Any]] = {}
    for (name, stack), length in zip(model.stacks().items(), lengths):
        uses, tensors = _positions(stack, max(lengths) if name == "decoder" else length)
        sides[name] = {**_side(stack, model.options), "positions": uses}
        weights |= {f"{name}.positions.{part}": tensor for part, tensor in tensors.items()}
    written = FloaterConfig(
        sides["encoder"],
        sides["decoder"],
        ties=_ties(model),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    exported = FloaterForConditionalGeneration(written)
    exported.load_state_dict(weights)
    exported.generation_config = _generation()
    return exported.eval()


def _is_plain(name: str) -> bool:
    """Whether a weight is the same in fairseq and in what is exported."""
    ours = ("position_encoder", "base_encoder", "embed_positions")
    parts = name.split(".")
    return not (set(ours) & set(parts) or parts[-1] in ("version", "_float_tensor", "anchor"))


def _ties(model: FloaterTransformerModel) -> Dict[str, str]:
    """Of the tables of words those that are others."""
    tables = {
        "encoder.embed_tokens.weight": model.encoder.embed_tokens.weight,
        "decoder.embed_tokens.weight": model.decoder.embed_tokens.weight,
        "decoder.output_projection.weight": model.decoder.output_projection.weight,
    }
    first: Dict[int, str] = {}
    ties = {}
    for name, table in tables.items():
        known = first.setdefault(table.data_ptr(), name)
        if known != name:
            ties[name] = known
    return ties


def _generation() -> Any:
    """As ``fairseq-generate`` searches by default."""
    return GenerationConfig(
        num_beams=5,
        early_stopping=True,
        length_penalty=1.0,
        min_new_tokens=1,
        max_new_tokens=200,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
        suppress_tokens=[1],
    )


def _side(stack: PositionedStack, options: Mapping[str, Any]) -> Dict[str, Any]:
    """What ``remote.stacks_floater`` is told of a stack."""
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
        "shift": int(options["position_shift"]),
    }


def _positions(stack: PositionedStack, length: int) -> Tuple[Dict[str, Any], Dict[str, Tensor]]:
    """The uses of positions of a stack by their names, and their tensors."""
    uses: Dict[str, Any] = {}
    tensors: Dict[str, Tensor] = {}
    for part, argument in _PARTS.items():
        encoder = getattr(stack, part)
        if encoder is not None:
            exported = Exported.of(encoder, length + int(stack.options.position_shift))
            uses[part] = {**_use(stack, part, argument), "table": exported.settings}
            tensors |= {f"{part}.{name}": tensor for name, tensor in exported.tensors.items()}
    return uses, tensors


def _use(stack: PositionedStack, part: str, argument: Optional[str]) -> Dict[str, Any]:
    """What the tracks of one encoder are for, see ``remote.forms_floater``."""
    options = stack.options
    block: Any = stack.layers[0]
    if part not in options.uses:  # the base model's, at the input
        return {"injection": "additive", "blocks": 1, "tracks": {"input": [0, 1]}}
    use, form = options.uses[part], block.forms.get(argument)
    slices = {"input": slice(0, 1)} if form is None else form.slices
    found = {
        "injection": use.injection,
        "blocks": len(stack.layers) if use.blocks == "all" else 1,
        "tracks": {name: [part.start, part.stop] for name, part in slices.items()},
    }
    if use.injection == "rotation":
        found["pairs"] = rotated_pairs(options, block.self_attn.head_dim)
        found["interleaved"] = options.rotary_layout == "interleaved"
    if use.injection == "relative":
        found["farthest"] = options.shaw_max_distance
    return found


def _tokenizer(corpus: Corpus, folder: Path) -> Any:
    """Of the corpus that the model was trained on; ``folder`` holds its files for a while."""
    files: Dict[str, Path] = {}
    for side, dictionary in (("source", corpus.source), ("target", corpus.target)):
        files[f"{side}_words"] = folder / f"{side}_words.json"
        words = json.dumps(dictionary.symbols, ensure_ascii=False)
        files[f"{side}_words"].write_text(words, "utf-8")
    if corpus.subword_model is not None:
        files["subword_model"] = corpus.subword_model
    return FloaterTokenizer(
        **{name: str(path) for name, path in files.items()},
        subword=corpus.subword,
        source_lang=corpus.languages["source"],
        target_lang=corpus.languages["target"],
        moses=corpus.moses,
        lowercase=corpus.lowercase,
    )
