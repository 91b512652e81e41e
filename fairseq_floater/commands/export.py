"""``floater export``: export a trained model for use without this plugin."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Union

from fairseq_floater.commands.arguments import at_least_one

if TYPE_CHECKING:
    from fairseq_floater.checkpoints.export import Lengths

#: the values of --to that write a file, and those that write a folder
FILES, FOLDERS = ("fairseq", "torch"), ("huggingface", "ctranslate2", "onnx")

SUMMARY = "write a trained model for stock fairseq, plain torch or an engine"

DESCRIPTION = """
--to fairseq: a checkpoint of fairseq's own transformer, which fairseq-generate loads without
--user-dir, and CTranslate2 converts. It is for models with positions at the input only: additive
floater, fourier, rnn or learned ones become a learned table; sinusoids, or no positions, stay.
fairseq has no place for biases of queries, keys and values, nor for vectors at all blocks.

--to torch: one program, loaded by torch.export.load(OUT).module(), which maps (src_tokens,
src_lengths, prev_output_tokens) to logits (batch, target length, vocabulary). It is for all
positions, but not for models with an adaptive softmax, which give no logits, or attention by
xFormers. It has no incremental decoding, and the dictionaries are not in it.

--to huggingface: a folder that transformers loads with trust_remote_code=True, with the tokenizer
and a cache of keys and values. It is for all positions, which are continued beyond the tables by
what was learned, but not for models with an adaptive softmax, xFormers or --cross-self-attention.
It needs transformers (pip install 'fairseq-floater[huggingface]').

--to ctranslate2: a folder for ctranslate2.Translator, in 32 bits or fewer (--quantization). It is
for positions at the input only, like --to fairseq, and for rotary, relative-bias and shaw. It needs
ctranslate2 (pip install 'fairseq-floater[ctranslate2]').

--to onnx: a folder with two graphs for ONNX Runtime, the encoder and a step of the decoder with its
cache, and the words. It is for all positions, like --to huggingface, up to --positions. It needs
onnx and onnxscript (pip install 'fairseq-floater[onnx]').

None of them takes tokens that do not stand at whole positions (--position-times), since tables have
rows for whole positions only.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.description = DESCRIPTION
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    add = command.add_argument
    add(
        "checkpoint",
        type=Path,
        help="checkpoint of a floater_transformer or, with --to huggingface, a floater_roberta",
    )
    add("out", type=Path, help="file to write, or folder for the last three")
    add("--to", choices=(*FILES, *FOLDERS), required=True, help="what to write, see above")
    add(
        "--data",
        type=Path,
        help="with --to huggingface, ctranslate2 and onnx, the folder that data-prep has made of "
        "the training corpus: its dictionaries are exported, too, and to huggingface its subwords; "
        "for a floater_roberta, the folder of its base model, with dict.txt and tokenizer.json",
    )
    add(
        "--labels",
        type=Path,
        help="with --to huggingface, dictionary with the names of the classes, such as "
        "bin/label/dict.txt; default: numbers",
    )
    add(
        "--quantization",
        choices=("int8", "int8_float32", "int8_float16", "int16", "float16", "bfloat16"),
        help="type of the weights with --to ctranslate2; default: 32 bits",
    )
    add(
        "--positions",
        type=at_least_one,
        help="longest input, in tokens, and rows of the tables; with --to huggingface, tables are "
        "continued beyond them; default: those of a learned table, 1024 otherwise",
    )


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.errors import UserError

    if args.quantization is not None and args.to != "ctranslate2":
        raise UserError(f"--quantization is for --to ctranslate2, not {args.to}: leave it out")
    if args.labels is not None and args.to != "huggingface":
        raise UserError(f"--labels is for --to huggingface, not {args.to}: leave it out")
    if args.to in FILES and args.data is not None:
        raise UserError(f"--data is for --to {' and '.join(FOLDERS)}, not {args.to}: leave it out")
    if args.to in FOLDERS and args.data is None:
        raise UserError(f"--to {args.to} needs dictionaries: give --data")
    lengths = _EXPORTS[args.to](args)
    # Tables for transformers are continued beyond their last row.
    said = "tables for" if args.to == "huggingface" else "up to"
    if isinstance(lengths, int):
        print(f"{args.out}: {said} {lengths:,} tokens")
    else:
        print(f"{args.out}: {said} {lengths.source:,} source and {lengths.target:,} target tokens")


def _fairseq(args: argparse.Namespace) -> "Lengths":
    from fairseq_floater.checkpoints.export.stock import export_stock  # slow to import, all of them

    return export_stock(args.checkpoint, args.out, args.positions)


def _torch(args: argparse.Namespace) -> "Lengths":
    from fairseq_floater.checkpoints.export.program import export_program

    return export_program(args.checkpoint, args.out, args.positions)


def _huggingface(args: argparse.Namespace) -> "Union[Lengths, int]":
    from fairseq_floater.errors import UserError

    with needing("transformers", "huggingface"):
        from fairseq_floater.checkpoints.export.huggingface.model import export_huggingface
        from fairseq_floater.checkpoints.export.huggingface.roberta import export_roberta
    from fairseq_floater.checkpoints.loading import load_options
    from fairseq_floater.models.kinds import ROBERTA, kind_with

    if kind_with(load_options(args.checkpoint)[1]) is ROBERTA:
        return export_roberta(args.checkpoint, args.out, args.data, args.positions, args.labels)
    if args.labels is not None:
        raise UserError(f"--labels {args.labels} is for a floater_roberta: leave it out")
    return export_huggingface(args.checkpoint, args.out, args.data, args.positions)


def _ctranslate2(args: argparse.Namespace) -> "Lengths":
    with needing("ctranslate2", "ctranslate2"):
        from fairseq_floater.checkpoints.export.to_ctranslate2 import export_ctranslate2

    return export_ctranslate2(
        args.checkpoint, args.out, args.data, args.positions, args.quantization
    )


def _onnx(args: argparse.Namespace) -> "Lengths":
    with needing("onnx", "onnx"):
        from fairseq_floater.checkpoints.export.to_onnx import export_onnx

    return export_onnx(args.checkpoint, args.out, args.data, args.positions)


_EXPORTS = {
    "fairseq": _fairseq,
    "torch": _torch,
    "huggingface": _huggingface,
    "ctranslate2": _ctranslate2,
    "onnx": _onnx,
}


@contextmanager
def needing(library: str, extra: str) -> Iterator[None]:
    """Imports within need a library that not everybody has."""
    from fairseq_floater.errors import UserError, first_line

    try:
        yield
    except ImportError as error:
        raise UserError(
            f"exporting needs {library} ({first_line(error)}): pip install "
            f"'fairseq-floater[{extra}]'"
        ) from None
