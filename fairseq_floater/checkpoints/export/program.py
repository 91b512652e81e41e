"""Export a trained model as one program of plain torch, with ``torch.export``.

The program computes logits for whole batches of source and target tokens, with the position
encodings as tables, and needs neither fairseq nor this plugin:

    program = torch.export.load("model.pt2").module()
    logits = program(src_tokens, src_lengths, prev_output_tokens)

src_tokens (batch, source length) and prev_output_tokens (batch, target length) are numbers from
the dictionaries of the training, padded on either side and no longer than the tables. src_lengths
(batch,) is there as in fairseq, but has no influence. The logits are (batch, target length,
vocabulary).

All position encoders, with all their blocks and injections, can be exported. The following cannot:

- incremental decoding: what it keeps between steps is not a tensor but a dictionary that grows.
  A search with the program computes the whole target at every step;
- an adaptive softmax: such a model gives no logits, but chooses by the target which to compute;
- attention by xFormers, which is not torch's own;
- tokens that do not stand at whole positions (--position-times), for which tables have no rows.
"""

import warnings
from pathlib import Path
from typing import Optional

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.blocks.stacks import FloaterDecoderStack, FloaterEncoderStack
from fairseq_floater.checkpoints.export import (
    TRACED,
    Lengths,
    require_traceable,
    require_whole_positions,
    require_without,
)
from fairseq_floater.checkpoints.loading import load_translation_model
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.errors import naming
from fairseq_floater.files import require_other_file, written_whole
from fairseq_floater.models.floater_transformer import FloaterTransformerModel


def export_program(checkpoint: Path, output: Path, positions: Optional[int] = None) -> Lengths:
    """Write the program of a ``floater_transformer`` checkpoint.

    Args:
        checkpoint: the checkpoint to read.
        output: the file to write, by convention a ``.pt2`` file.
        positions: the number of rows of the tables and the longest input, see ``Lengths.of``.

    Raises:
        UserError: if the model cannot be exported, a learned table is shorter than ``positions``,
            or there is no such checkpoint.
    """
    require_other_file(output, checkpoint)
    _, config, model = load_translation_model(checkpoint)
    require_whole_positions(checkpoint, config)
    xformers = (f"{side}_xformers_att_config" for side in ("encoder", "decoder"))
    require_without(checkpoint, config, "adaptive_softmax_cutoff", *xformers)
    with naming(checkpoint):
        whole = WholeModel(model, positions)
        require_traceable(whole.lengths)
        program = trace(whole)
    with written_whole(output) as file:  # a path would have to end in .pt2 for torch
        torch.export.save(program, file)
    return whole.lengths


def trace(whole: "WholeModel") -> ExportedProgram:
    """Return the program of a model in evaluation mode, for batches and lengths of any size."""
    batch = Dim("batch")
    source = Dim("source", max=whole.lengths.source)
    target = Dim("target", max=whole.lengths.target)
    # Sizes of an example must differ from 0 and 1, which torch.export takes for constants.
    source_tokens, target_tokens = torch.full((3, TRACED), 4), torch.full((3, TRACED - 1), 4)
    example = source_tokens, torch.full((3,), TRACED), target_tokens
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about fairseq's masks
        program = torch.export.export(
            whole,
            example,
            dynamic_shapes=({0: batch, 1: source}, {0: batch}, {0: batch, 1: target}),
            strict=False,
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has paths of this machine
    return program


class WholeModel(nn.Module):
    """An encoder and a decoder that decide nothing by what the tokens are, as a program cannot.

    fairseq's stacks check whether there are pads, and ours where they are; a forward pass of this
    model runs the same blocks, but always with masks. The blocks and position tables are those of
    ``model``, which is used up.
    """

    def __init__(self, model: FloaterTransformerModel, positions: Optional[int] = None):
        super().__init__()
        source, target = Lengths.of(model, positions)
        if model.decoder.follows_source:
            source = min(source, target)  # one table, as long as the target, serves both
        self.lengths = Lengths(source, target)
        self.padding_idx = model.encoder.padding_idx
        self.encoder = WholeEncoder(model.encoder, source)
        self.decoder = WholeDecoder(model.decoder, target)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor
    ) -> Tensor:
        """(batch, source length), (batch,), (batch, target length) to (batch, target length, V)."""
        pads = src_tokens.eq(self.padding_idx)
        return self.decoder(prev_output_tokens, self.encoder(src_tokens, pads), pads)


class FixedTable(nn.Module):
    """Stands in for a position encoder: always gives its first ``length`` positions."""

    max_positions = None  # the program itself has bounds
    table: Tensor

    def __init__(self, encoder: PositionEncoder, length: int):
        super().__init__()
        with torch.no_grad():
            table = encoder(length).contiguous()
        self.register_buffer("table", table)  # (tracks, length, dim)

    def forward(self, length: int, shared: bool = False) -> Tensor:
        return self.table


class WholeStack(nn.Module):
    """A stack of ours with tables of ``length`` rows in place of its position encoders."""

    def __init__(self, stack: PositionedStack, length: int):
        super().__init__()
        self.stack = stack
        length += stack.options.position_shift
        stack.layers = nn.ModuleList(stack.layers)  # with layer drop, it would draw random numbers
        for part in ("position_encoder", "base_encoder"):
            encoder = getattr(stack, part)
            if encoder is not None and not encoder.by_pair:
                setattr(stack, part, FixedTable(encoder, length))  # does all that is asked of it
        if stack.input_encoder is not None:
            stack.embed_positions.encoder = FixedTable(stack.input_encoder, length)


class WholeEncoder(WholeStack):
    """Maps tokens (batch, length) and their pads to (length, batch, dim)."""

    stack: FloaterEncoderStack

    def forward(self, tokens: Tensor, pads: Tensor) -> Tensor:
        stack = self.stack
        with stack.opened(stack.places(tokens, pads)):
            x, _ = stack.forward_embedding(tokens)
            x = (x * ~pads.unsqueeze(-1)).transpose(0, 1)
            for layer in stack.layers:
                x = layer(x, encoder_padding_mask=pads)
        return x if stack.layer_norm is None else stack.layer_norm(x)


class WholeDecoder(WholeStack):
    """Maps tokens (batch, length), the encoder's output and source pads to (batch, length, V)."""

    stack: FloaterDecoderStack

    def forward(self, tokens: Tensor, encoded: Tensor, source_pads: Tensor) -> Tensor:
        # A pad on the left would see nothing but pads, which gives NaN: pads go to the right.
        order = tokens.eq(self.stack.padding_idx).int().argsort(dim=1, stable=True)
        x = self._features(tokens.gather(1, order), encoded, source_pads)
        back = order.argsort(dim=1).unsqueeze(-1).expand_as(x)
        return self.stack.output_layer(x.gather(1, back))

    def _features(self, tokens: Tensor, encoded: Tensor, source_pads: Tensor) -> Tensor:
        stack = self.stack
        pads = tokens.eq(stack.padding_idx)
        places = stack.places(tokens, pads)
        if stack.follows_source:
            places = places._replace(
                source=stack.source_places({"encoder_padding_mask": [source_pads]})
            )
        with stack.opened(places):
            x = self._embedded(tokens).transpose(0, 1)
            future = torch.full((x.size(0), x.size(0)), float("-inf")).triu(1)
            masks = {"self_attn_mask": future, "self_attn_padding_mask": pads}
            for layer in stack.layers:
                x, *_ = layer(x, encoded, source_pads, **masks)
        x = x if stack.layer_norm is None else stack.layer_norm(x)
        x = x.transpose(0, 1)
        return x if stack.project_out_dim is None else stack.project_out_dim(x)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """As ``forward_embedding`` of fairseq's encoder, which fairseq's decoder does not have."""
        stack = self.stack
        x = stack.embed_scale * stack.embed_tokens(tokens)
        for module in (stack.quant_noise, stack.project_in_dim):
            x = x if module is None else module(x)
        if stack.embed_positions is not None:
            x = x + stack.embed_positions(tokens)
        return x if stack.layernorm_embedding is None else stack.layernorm_embedding(x)
