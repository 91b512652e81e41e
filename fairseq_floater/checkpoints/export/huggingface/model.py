"""``floater export --to huggingface``: a folder that transformers loads and generates with.

    model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)

The folder has the weights, the configuration, the tokenizer, and the files of ``remote`` that run
them, with a cache of keys and values and with every kind of position. These cannot be exported:

- an adaptive softmax, attention by xFormers, and a decoder whose attention reads source and target
  together (--cross-self-attention);
- a decoder whose input or output is not as wide as its blocks;
- tokens that do not stand at whole positions (--position-times).
"""

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional

from transformers import GenerationConfig

from fairseq_floater.blocks.positioned import UNLIMITED
from fairseq_floater.checkpoints.export import Lengths, require_plain_blocks
from fairseq_floater.checkpoints.export.corpus import Corpus
from fairseq_floater.checkpoints.export.huggingface.remote.modeling_floater import (
    FloaterConfig,
    FloaterForConditionalGeneration,
)
from fairseq_floater.checkpoints.export.huggingface.remote.tokenization_floater import (
    FloaterTokenizer,
)
from fairseq_floater.checkpoints.export.huggingface.stack import (
    plain,
    require_known_activation,
    side_of,
)
from fairseq_floater.checkpoints.loading import load_translation_model
from fairseq_floater.errors import UserError, first_line, naming
from fairseq_floater.files import written_folder
from fairseq_floater.models.floater_transformer import FloaterTransformerModel


def export_huggingface(
    checkpoint: Path, output: Path, data: Path, positions: Optional[int] = None
) -> Lengths:
    """Write the folder of a ``floater_transformer`` checkpoint.

    Args:
        checkpoint: the checkpoint to read.
        output: the folder to write.
        data: the corpus, see ``corpus.Corpus``.
        positions: the rows of the tables, which are continued beyond them; see ``Lengths.of``.

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
    """Load a checkpoint's model, if it can be exported; raises as ``export_huggingface`` does."""
    _, config, model = load_translation_model(checkpoint)
    require_plain_blocks(checkpoint, config, model)
    require_known_activation(checkpoint, config.activation_fn)
    return model


def build_exported(model: FloaterTransformerModel, lengths: Lengths) -> Any:
    """Build the model for transformers, with tables of these lengths."""
    weights = plain(model.state_dict())
    sides: Dict[str, Dict[str, Any]] = {}
    for (name, stack), length in zip(model.stacks().items(), lengths):
        length = max(lengths) if name == "decoder" else length  # it may serve the source, too
        sides[name], tensors = side_of(stack, model.options, length)
        weights |= {f"{name}.positions.{part}": tensor for part, tensor in tensors.items()}
    if model.decoder.max_positions() != UNLIMITED:
        sides["decoder"]["longest"] = model.decoder.max_positions()
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
    exported.generation_config = _generation(written.max_position_embeddings)
    return exported.eval()


def _ties(model: FloaterTransformerModel) -> Dict[str, str]:
    """Return the word tables that are the same as others, with the names of those."""
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


def _generation(longest: Optional[int]) -> Any:
    """Return ``fairseq-generate``'s default search, no further than a table of the decoder."""
    return GenerationConfig(
        num_beams=5,
        early_stopping=True,
        length_penalty=1.0,
        min_new_tokens=1,
        max_new_tokens=min(201, longest or 201),  # 200 and the end
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
        suppress_tokens=[1],
    )


def _tokenizer(corpus: Corpus, folder: Path) -> Any:
    """Build the tokenizer of the training corpus; ``folder`` holds its files for a while."""
    files: Dict[str, Path] = {}
    for side, dictionary in (("source", corpus.source), ("target", corpus.target)):
        files[f"{side}_words"] = folder / f"{side}_words.json"
        words = json.dumps(dictionary.symbols, ensure_ascii=False)
        files[f"{side}_words"].write_text(words, "utf-8")
    if corpus.subword_model is not None:
        files["subword_model"] = corpus.subword_model
    tokenizer = FloaterTokenizer(
        **{name: str(path) for name, path in files.items()},
        subword=corpus.subword,
        source_lang=corpus.languages["source"],
        target_lang=corpus.languages["target"],
        steps=corpus.steps,
    )
    try:
        tokenizer.tokenize("a")
    except (Exception, SystemExit) as error:  # subword libraries raise nothing more specific
        raise UserError(
            f"texts cannot be cut up by {corpus.subword_model} ({first_line(error)}): give the "
            "corpus of the training as --data"
        ) from None
    return tokenizer
