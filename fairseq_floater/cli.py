"""The ``floater`` command."""

import argparse
import importlib
import logging
import sys
from typing import List, Optional

from fairseq_floater.errors import UserError, nobody_reads, show, traceback_wanted

#: each is a module of ``fairseq_floater.commands``
COMMANDS = (
    "user-dir",
    "convert",
    "bake",
    "average",
    "export",
    "heatmap",
    "inspect",
    "score",
    "predict",
    "score-labels",
    "answer",
    "score-answers",
    "report",
)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        args = _parser().parse_args(arguments)
        logging.getLogger().setLevel(logging.WARNING)  # fairseq sets it to DEBUG for all libraries
        args.command(args)
        if sys.stdout is not None:  # it was closed
            sys.stdout.flush()
    except (UserError, OSError) as error:
        if traceback_wanted():
            raise
        if not nobody_reads(error):
            show(error)
        return 1
    except KeyboardInterrupt:
        if traceback_wanted():
            raise
        show("interrupted: what was being written is as it was before")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="floater", description="Tools for FLOATER in fairseq.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"fairseq_floater.commands.{name.replace('-', '_')}")
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        module.add_arguments(command)
        command.set_defaults(command=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
