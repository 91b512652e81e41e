"""``floater bake``: encodings baked into a checkpoint."""

import argparse
from pathlib import Path

from fairseq_floater.commands.arguments import at_least_one

SUMMARY = "bake a checkpoint's position encodings into it, so that a loaded model need not solve"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("checkpoint", type=Path, help="checkpoint of a model of the plugin")
    add(
        "--positions",
        type=at_least_one,
        default=1024,
        help="bake at least this many positions; default: %(default)s",
    )
    add("--out", type=Path, help="checkpoint to write; default: the checkpoint itself")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.checkpoints.bake import bake

    out = args.out or args.checkpoint
    baked = bake(args.checkpoint, out, args.positions)
    counts = ", ".join(f"{count:,} positions of the {stack}" for stack, count in baked.items())
    print(f"{out}: {counts} baked in")
