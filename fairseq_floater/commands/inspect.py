"""``floater inspect``: show what is in a checkpoint."""

import argparse
import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq_floater.errors import UserError

SUMMARY = "show what a checkpoint has learned about positions"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("checkpoint", type=Path, help="checkpoint of a model of the plugin")
    add("--length", type=int, default=64, help="training length, in positions; default: 64")
    add("--out", type=Path, metavar="FOLDER", help="folder for pictures; default: none are drawn")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.inspection.findings import inspect_checkpoint  # slow to import
    from fairseq_floater.inspection.text import as_text

    if args.out:
        _make_folder(args.out)
    findings = inspect_checkpoint(args.checkpoint, args.length)
    if args.json:
        print(json.dumps(_without_infinity(asdict(findings)), indent=2, allow_nan=False))
    else:
        print(as_text(findings))
    if args.out:
        if not findings.stacks:
            print(f"{args.checkpoint} has no positions to draw", file=sys.stderr)
        from fairseq_floater.inspection.picture import draw_inspection

        for stack in findings.stacks:
            pictures = draw_inspection(args.checkpoint, args.out, stack, args.length)
            if not args.json:
                print(*pictures, sep="\n")


def _without_infinity(found: Any) -> Any:
    """Return what was found with null in place of numbers that JSON does not have."""
    if isinstance(found, dict):
        return {key: _without_infinity(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_without_infinity(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _make_folder(folder: Path) -> None:
    """Make the folder, to fail before the work is done.

    Raises:
        UserError: if ``folder`` cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {folder} cannot be made: {error.strerror}: choose another folder"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder} cannot be written to: choose another folder")
