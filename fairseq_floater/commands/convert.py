"""``floater convert``: FLOATER, or other learned positions, for a trained model."""

import argparse
from dataclasses import fields
from pathlib import Path

from fairseq_floater.options import PositionOptions, add_flags

SUMMARY = "add FLOATER to a trained transformer checkpoint, without changing its translations"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("base", type=Path, help="checkpoint of fairseq's transformer")
    add("out", type=Path, help="checkpoint to write")
    add("--arch", help="refuse a base model that has not the shape of this architecture")
    add("--seed", type=int, default=1, help="of the new weights; default: %(default)s")
    add_flags(command, PositionOptions())


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.checkpoints.convert import convert

    flags = {f.name: getattr(args, f.name, None) for f in fields(PositionOptions)}
    given = {n: value for n, value in flags.items() if value is not None and value is not False}
    convert(args.base, args.out, given, args.arch, args.seed)
    print(args.out)
