"""``floater convert``: FLOATER, or other learned positions, for a trained model."""

import argparse
from dataclasses import fields
from pathlib import Path

from fairseq_floater.options import PositionOptions, add_flags

SUMMARY = "add FLOATER to a trained transformer or RoBERTa, without changing what it computes"
DESCRIPTION = """
--from fairseq: BASE is a checkpoint of fairseq's own transformer or roberta, or of the plugin's.

--from huggingface: BASE is the folder of a BERT or a RoBERTa, with config.json, model.safetensors
and tokenizer.json. The dictionary that fairseq reads, dict.txt, and the tokenizer, tokenizer.json,
are written beside OUT; --bpe tokenizer_json --tokenizer-json FILE cuts up text with it. With
--position-encoder learned --position-blocks input the model stays as it was.
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.description = SUMMARY[0].upper() + SUMMARY[1:] + ".\n\n" + DESCRIPTION.strip()
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    add = command.add_argument
    add(
        "base",
        metavar="BASE",
        type=Path,
        help="checkpoint of fairseq's transformer or roberta, or a folder",
    )
    add("out", type=Path, help="checkpoint to write")
    add(
        "--from",
        dest="source",
        choices=("fairseq", "huggingface"),
        default="fairseq",
        help="where BASE is from, see above; default: %(default)s",
    )
    add("--arch", help="refuse a base model that does not have the shape of this architecture")
    add("--seed", type=int, default=1, help="seed of the new weights; default: %(default)s")
    add_flags(command, PositionOptions())


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.checkpoints.convert import convert, convert_huggingface
    from fairseq_floater.models.changed_defaults import settle_unsaid

    settle_unsaid(args)

    flags = {f.name: getattr(args, f.name, None) for f in fields(PositionOptions)}
    given = {n: value for n, value in flags.items() if value is not None and value is not False}
    if args.source == "fairseq":
        convert(args.base, args.out, given, args.arch, args.seed)
        print(args.out)
        return
    converted = convert_huggingface(args.base, args.out, given, args.arch, args.seed)
    print(f"{args.out}, with dict.txt and tokenizer.json beside it")
    if converted.left_out:
        print(f"left out, as fairseq has no place for them: {', '.join(converted.left_out)}")
    if not converted.has_head:
        print("there is no masked-LM head to take over, so a new one was added")
