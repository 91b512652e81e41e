"""``floater export``: a trained model for use without this plugin."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "write a trained model for stock fairseq, plain torch or Hugging Face's transformers"

DESCRIPTION = """
--to fairseq: a checkpoint of fairseq's own transformer, which fairseq-generate loads without
--user-dir, and CTranslate2 converts. For models with positions at the input only: floater, rnn or
learned ones, additive, become a learned table; sinusoids, or no positions, stay. fairseq has no
place for biases of queries, keys and values, nor for vectors at all blocks.

--to torch: one program, loaded by torch.export.load(OUT).module(), from (src_tokens, src_lengths,
prev_output_tokens) to logits (batch, target length, vocabulary). For all positions; not for models
with an adaptive softmax, which give no logits, or attention by xFormers. It has no incremental
decoding, and the dictionaries are not in it.

--to huggingface: a folder that transformers loads with trust_remote_code=True, with the tokenizer
and a cache of keys and values. For all positions; they go on beyond the tables by what was learned.
Not for models with an adaptive softmax, xFormers or --cross-self-attention. Needs transformers (pip
install 'fairseq-floater[huggingface]').

None takes tokens that do not stand at whole positions (--position-times), since tables have rows
for these only.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.description = DESCRIPTION
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    add = command.add_argument
    add("checkpoint", type=Path, help="of a floater_transformer")
    add("out", type=Path, help="file to write, with --to huggingface a folder")
    targets = ("fairseq", "torch", "huggingface")
    add("--to", choices=targets, required=True, help="what to write, see above")
    add(
        "--data",
        type=Path,
        help="what data-prep has made of the corpus of the training, for the tokenizer of --to "
        "huggingface",
    )
    add(
        "--positions",
        type=at_least_one,
        help="longest input, in tokens, and rows of the tables; with --to huggingface tables go on "
        "beyond them; default: those of a learned table, 1024 otherwise",
    )


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.checkpoints.export.huggingface.model import export_huggingface
    from fairseq_floater.checkpoints.export.program import export_program  # slow to import
    from fairseq_floater.checkpoints.export.stock import export_stock
    from fairseq_floater.errors import UserError

    if args.to == "huggingface":
        if args.data is None:
            raise UserError("--to huggingface writes a tokenizer, too: give --data")
        lengths = export_huggingface(args.checkpoint, args.out, args.data, args.positions)
    else:
        if args.data is not None:
            raise UserError(f"--data is for --to huggingface, not for --to {args.to}: leave it out")
        export = {"fairseq": export_stock, "torch": export_program}[args.to]
        lengths = export(args.checkpoint, args.out, args.positions)
    print(f"{args.out}: up to {lengths.source:,} source and {lengths.target:,} target tokens")
