"""``floater export --to onnx``: two graphs that ONNX Runtime runs, for decoding step by step.

encoder.onnx takes input_ids (batch, source) and attention_mask (batch, source), 1 at tokens and 0
at pads. It gives source_kv (blocks, 2, batch, heads, source, head dim): the keys and values of the
source in each block of the decoder.

decoder_step.onnx takes input_ids (batch, 1), the last words; attention_mask and source_kv; and
past_kv (blocks, 2, batch, heads, length, head dim), the keys and values of the words before these,
of length 0 at the first step. It gives logits (batch, words) of the next word, and present_kv,
which is past_kv for the next step.

All sizes except those of the model are dynamic. Position tables have a fixed number of rows, and
sources and targets cannot be longer than these. What cannot be exported for transformers (see
``huggingface.model``) cannot be exported here either: the graphs are those of that model.
"""

import json
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

import onnx
import onnxscript  # noqa: F401  torch needs it, and would say so less plainly
import torch
from torch import Tensor, nn

from fairseq_floater.checkpoints.export import TRACED, Lengths, require_traceable
from fairseq_floater.checkpoints.export.corpus import Corpus
from fairseq_floater.checkpoints.export.huggingface.model import build_exported, load_exportable
from fairseq_floater.checkpoints.export.huggingface.remote.positions_floater import (
    Ending,
    Fire,
    Table,
)
from fairseq_floater.errors import naming
from fairseq_floater.files import written_folder


def export_onnx(
    checkpoint: Path, output: Path, data: Path, positions: Optional[int] = None
) -> Lengths:
    """Write the folder of a ``floater_transformer`` checkpoint: both graphs, and the words.

    Args:
        checkpoint: the checkpoint to read.
        output: the folder to write; words.json has the words of both languages by their numbers.
        data: the corpus, see ``corpus.Corpus``.
        positions: the number of rows of the tables and the longest input, see ``Lengths.of``.

    Raises:
        UserError: if the model cannot be exported, its data do not fit it, or there is something
            at ``output`` already.
    """
    with written_folder(output) as folder:
        model = load_exportable(checkpoint)
        lengths, corpus = Lengths.of(model, positions), Corpus.read(data, model)
        require_traceable(lengths)
        with naming(checkpoint), torch.no_grad():
            _write(build_exported(model, lengths), lengths, folder)
        words = {"source": corpus.source.symbols, "target": corpus.target.symbols}
        (folder / "words.json").write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    return lengths


def fix_tables(exported: Any, lengths: Lengths) -> None:
    """Replace the tables of a model for transformers by ones that do not grow."""
    for stack, length in ((exported.encoder, lengths.source), (exported.decoder, max(lengths))):
        for name, table in stack.positions.items():
            rows = length + stack.side["shift"]
            if isinstance(table, Ending):  # the other side may be longer
                rows = min(rows, table.stored.size(1))
            if not isinstance(table, Fire):  # it has no table
                stack.positions[name] = FixedRows(table, rows)


def _write(exported: Any, lengths: Lengths, folder: Path) -> None:
    """Write both graphs of a model for transformers."""
    fix_tables(exported, lengths)
    batch, source, past = (torch.export.Dim(name) for name in ("batch", "source", "past"))
    ids, mask = torch.full((2, TRACED), 4), torch.ones(2, TRACED, dtype=torch.long)
    encoder, step = SourceKeys(exported), DecoderStep(exported)
    of_source = encoder(ids, mask)
    _export(
        encoder,
        {"input_ids": ids, "attention_mask": mask},
        {name: {0: batch, 1: source} for name in ("input_ids", "attention_mask")},
        ["source_kv"],
        folder / "encoder.onnx",
    )
    given = {
        "input_ids": torch.full((2, 1), 2),
        "attention_mask": mask,
        "source_kv": of_source,
        "past_kv": of_source[..., :3, :].clone(),
    }
    sizes = {
        "input_ids": {0: batch},
        "attention_mask": {0: batch, 1: source},
        "source_kv": {2: batch, 4: source},
        "past_kv": {2: batch, 4: past},
    }
    _export(step, given, sizes, ["logits", "present_kv"], folder / "decoder_step.onnx")


def _export(
    module: nn.Module,
    given: Dict[str, Tensor],
    sizes: Dict[str, Dict[int, Any]],
    outputs: List[str],
    path: Path,
) -> None:
    """Write one graph, silencing torch, which talks at length about what it does."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in noisy]
    try:
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                kwargs=given,
                f=str(path),
                input_names=list(given),
                output_names=outputs,
                dynamic_shapes=sizes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        for logger, level in zip(noisy, levels):
            logger.setLevel(level)
    graph = onnx.load(path)
    for node in (*graph.graph.node, *(node for part in graph.functions for node in part.node)):
        del node.metadata_props[:]  # source lines, with paths of this machine
    onnx.save(graph, path)


class FixedRows(Table):
    """Always the first ``length`` rows of a table, as a graph cannot grow."""

    def __init__(self, table: Table, length: int):
        whole = table(length).contiguous()
        super().__init__({"shape": list(whole.shape)})
        self.stored.copy_(whole)

    def forward(self, length: int) -> Tensor:
        return self.stored


class Side:
    """Keys and values of all blocks, (blocks, 2, batch, heads, length, head dim)."""

    def __init__(self, given: Tensor):
        self.layers = [SimpleNamespace(keys=pair[0], values=pair[1]) for pair in given.unbind(0)]

    def update(self, keys: Tensor, values: Tensor, block: int) -> Tuple[Tensor, Tensor]:
        """Append these to the earlier ones, and return all of them."""
        layer = self.layers[block]
        layer.keys = torch.cat([layer.keys, keys], dim=2)
        layer.values = torch.cat([layer.values, values], dim=2)
        return layer.keys, layer.values

    def stacked(self) -> Tensor:
        return torch.stack([torch.stack([layer.keys, layer.values]) for layer in self.layers])


class Given:
    """Stands in for transformers' cache: holds what a graph is given and what it gives back."""

    def __init__(self, past: Tensor, source: Tensor):
        self.self_attention_cache, self.cross_attention_cache = Side(past), Side(source)
        self.is_updated = {0: True}
        self.length = past.size(4)

    def get_seq_length(self) -> int:
        return self.length


class SourceKeys(nn.Module):
    """The encoder, and the keys and values that the decoder computes from its output."""

    def __init__(self, exported: Any):
        super().__init__()
        self.encoder, self.decoder = exported.encoder, exported.decoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See the top of the file."""
        encoded = self.encoder(input_ids, attention_mask)[0]
        pairs = self.decoder.source_keys(encoded, attention_mask)
        return torch.stack([torch.stack(pair) for pair in pairs])


class DecoderStep(nn.Module):
    """The decoder, one word further."""

    def __init__(self, exported: Any):
        super().__init__()
        self.decoder = exported.decoder

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, source_kv: Tensor, past_kv: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """See the top of the file."""
        kept = Given(past_kv, source_kv)
        passed = self.decoder(input_ids, None, attention_mask, cache=kept)
        logits = self.decoder.output_projection(passed.x[:, -1])
        return logits, kept.self_attention_cache.stacked()
