"""``floater export --to ctranslate2``: a folder for CTranslate2's engine, also in 8 bits.

    translator = ctranslate2.Translator(FOLDER)

CTranslate2 has fixed forms of positions. Through its own ``Converter``, it takes over:

- positions at the input: floater, fourier and rnn, additive, and learned tables, sinusoids, and
  none;
- rotary, relative-bias, and shaw whose heads share vectors, in self-attention and with no other
  positions.

What it has no place for is refused: biases of queries, keys and values, vectors at all blocks,
alibi (its own is for decoders without an encoder), fire, and FLOATER as rotation or as scores.
"""

from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import torch
from ctranslate2.converters import Converter
from ctranslate2.converters import fairseq as stock
from ctranslate2.specs import transformer_spec
from ctranslate2.specs.common_spec import Activation
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.checkpoints.export import Lengths, require_plain_blocks
from fairseq_floater.checkpoints.export.corpus import Corpus
from fairseq_floater.checkpoints.loading import LoadedTranslation, load_translation_model
from fairseq_floater.encoders.relative_bias import RelativeBiasEncoder
from fairseq_floater.encoders.rotary import rotated_pairs
from fairseq_floater.encoders.shaw import ShawEncoder
from fairseq_floater.errors import UserError, naming
from fairseq_floater.files import written_folder
from fairseq_floater.models.config import FloaterTransformerConfig

_ACTIVATIONS = {
    "relu": Activation.RELU,
    "gelu": Activation.GELU,
    "gelu_fast": Activation.GELUTanh,
    "gelu_accurate": Activation.GELUTanh,
    "swish": Activation.SWISH,
    "tanh": Activation.Tanh,
}

#: the position encoders that CTranslate2's attention has itself
_WITHIN = ("rotary", "relative-bias", "shaw")


def export_ctranslate2(
    checkpoint: Path,
    output: Path,
    data: Path,
    positions: Optional[int] = None,
    quantization: Optional[str] = None,
) -> Lengths:
    """Write the folder of a ``floater_transformer`` checkpoint.

    Args:
        checkpoint: the checkpoint to read.
        output: the folder to write.
        data: the corpus, see ``corpus.Corpus``; its dictionaries go with the model.
        positions: the rows of a table at the input, and so the longest input; see ``Lengths.of``.
        quantization: one of CTranslate2's types, such as int8; None for 32 bits.

    Raises:
        UserError: if CTranslate2 has no place for the model's positions or another part of it, the
            data do not fit it, or there is something at ``output`` already.
    """
    with written_folder(output) as folder:
        loaded = load_translation_model(checkpoint)
        require_plain_blocks(checkpoint, loaded.config, loaded.model)
        reason = why_not(loaded.config)
        if reason is not None:
            raise UserError(f"{checkpoint} {reason}: use --to huggingface")
        corpus, lengths = Corpus.read(data, loaded.model), Lengths.of(loaded.model, positions)
        converter = FloaterConverter(loaded, corpus, lengths)
        with naming(checkpoint), torch.no_grad():
            converter.convert(str(folder), quantization=quantization, force=True)
    return lengths


def why_not(config: FloaterTransformerConfig) -> Optional[str]:
    """Return what in a model CTranslate2 has no place for, or None if it can take it over."""
    if config.injection == "bias":
        return "has biases of queries, keys and values, for which CTranslate2 has no place"
    if config.injection == "additive" and config.position_blocks == "all":
        return "has vectors added at all blocks, which CTranslate2 adds at the input only"
    within = config.injection not in (None, "additive")
    if within and config.position_encoder not in _WITHIN:
        kind = f"{config.position_encoder} as {config.injection}"
        return f"has {kind} within attention, where CTranslate2 has {', '.join(_WITHIN)} only"
    if within and config.attention != "self":
        return "has positions within cross-attention, which CTranslate2 has in self-attention only"
    if within and config.keep_input_positions:
        return "has positions at the input and within attention, but CTranslate2 has only one"
    if config.position_encoder == "shaw" and config.shaw_per_head:
        return "has separate vectors for each head (--shaw-per-head), which CTranslate2 shares"
    if within and config.position_blocks == "input":
        return "has positions in the first block only, which CTranslate2 has in all"
    if config.attention_log_scale is not None:
        return "has --attention-log-scale, which CTranslate2 does not have"
    if config.activation_fn not in _ACTIVATIONS:
        return f"has --activation-fn {config.activation_fn}, which CTranslate2 does not have"
    return None


class FloaterConverter(Converter):
    """A converter of CTranslate2 for these models.

    Args:
        loaded: the model.
        corpus: the corpus of its training.
        lengths: the lengths of tables at the input.
    """

    def __init__(self, loaded: LoadedTranslation, corpus: Corpus, lengths: Lengths):
        self.loaded, self.corpus, self.lengths = loaded, corpus, lengths

    def _load(self) -> Any:
        model = self.loaded.model
        encoder = transformer_spec.TransformerEncoderSpec(**self._form(model.encoder))
        decoder = transformer_spec.TransformerDecoderSpec(**self._form(model.decoder))
        stacks: Any = ((encoder, model.encoder), (decoder, model.decoder))
        for (spec, stack), length in zip(stacks, self.lengths):
            embeddings = spec.embeddings
            stock.set_embeddings(
                embeddings[0] if isinstance(embeddings, list) else embeddings, stack.embed_tokens
            )
            spec.scale_embeddings = stack.embed_scale
            if hasattr(spec, "position_encodings"):
                spec.position_encodings.encodings = input_table(stack, length).numpy()
            for name in ("layer_norm", "layernorm_embedding"):
                if getattr(stack, name) is not None:
                    stock.set_layer_norm(getattr(spec, name), getattr(stack, name))
            for layer_spec, layer in zip(spec.layer, stack.layers):
                self._set_layer(layer_spec, layer, stack)
        stock.set_linear(decoder.projection, model.decoder.output_projection)
        whole = transformer_spec.TransformerSpec(encoder, decoder)
        whole.register_source_vocabulary(_vocabulary(self.corpus.source))
        whole.register_target_vocabulary(_vocabulary(self.corpus.target))
        whole.config.decoder_start_token = whole.config.eos_token
        whole.config.add_source_eos = True
        return whole

    def _form(self, stack: PositionedStack) -> Dict[str, Any]:
        """Return the arguments of a stack's specification."""
        config = self.loaded.config
        block: Any = stack.layers[0]
        before = bool(block.normalize_before)
        form: Dict[str, Any] = {
            "num_layers": len(stack.layers),
            "num_heads": block.self_attn.num_heads,
            "pre_norm": before,
            "no_final_norm": before and stack.layer_norm is None,  # type: ignore[attr-defined]
            "activation": _ACTIVATIONS[config.activation_fn],
            "layernorm_embedding": stack.layernorm_embedding is not None,  # type: ignore[attr-defined]
        }
        if config.position_encoder == "rotary":
            pairs = rotated_pairs(config, block.self_attn.head_dim)
            form |= {"rotary_dim": 2 * pairs, "rotary_base": config.rotary_base}
            form["rotary_interleave"] = config.rotary_layout == "interleaved"
        form["relative_position"] = config.position_encoder == "shaw"
        form["relative_attention_bias"] = config.position_encoder == "relative-bias"
        return form

    @staticmethod
    def _set_layer(spec: Any, layer: Any, stack: PositionedStack) -> None:
        if stack.causal:
            stock.set_transformer_decoder_layer(spec, layer)
        else:
            stock.set_transformer_encoder_layer(spec, layer)
        encoder, attention = stack.position_encoder, spec.self_attention
        if isinstance(encoder, RelativeBiasEncoder):
            attention.relative_attention_bias = encoder.weight.flatten(0, 1).numpy()
            attention.relative_attention_max_distance = np.int32(encoder.max_distance)
        if isinstance(encoder, ShawEncoder):
            number = list(stack.layers).index(layer)
            per_block = len(encoder.table) // len(stack.layers)
            tracks = encoder.table[number * per_block :][:per_block]
            keys, values = (*tracks, torch.zeros_like(tracks[0]))[:2]
            rows = 2 * encoder.max_distance + 1  # later ones, which a decoder never sees, are 0
            for name, table in (("keys", keys), ("values", values)):
                whole = table.new_zeros(rows, table.size(1))
                whole[: len(table)] = table
                setattr(attention, f"relative_position_{name}", whole.numpy())


def input_table(stack: PositionedStack, length: int) -> Tensor:
    """Return the positions added to a stack's input, (length, dim): zeros if there are none."""
    encoder = stack.position_encoder if stack.additive else stack.input_encoder
    if encoder is None:
        return torch.zeros(length, stack.embed_tokens.weight.size(1))  # type: ignore[attr-defined]
    shift = stack.options.position_shift
    return encoder(length + shift)[0, shift:].contiguous()


def _vocabulary(dictionary: Dictionary) -> Any:
    """Return the words as CTranslate2 names them."""
    return ["<blank>" if word == "<pad>" else word for word in dictionary.symbols]
