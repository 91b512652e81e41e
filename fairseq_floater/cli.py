"""The ``floater`` command."""

import argparse
import importlib
import logging
import os
import sys
from typing import List, Optional, Tuple

from fairseq.utils import import_user_module

from fairseq_floater.errors import UserError, first_line, nobody_reads, show, traceback_wanted

#: each command is a module of ``fairseq_floater.commands``
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

ALSO = "--user-dir FOLDER, before or after the command: see floater --help"


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        logging.getLogger().setLevel(logging.WARNING)  # fairseq sets it to DEBUG for all libraries
        folder, rest = _user_dir(sys.argv[1:] if arguments is None else arguments)
        if folder is not None:
            _import_user_dir(folder)
        args = _parser().parse_args(rest)
        args.command(args)
        if sys.stdout is not None:  # None if it was closed
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
        show("interrupted: any file that was being written is unchanged")
        return 130
    return 0


def _user_dir(arguments: List[str]) -> Tuple[Optional[str], List[str]]:
    """Return the value of ``--user-dir`` and the other arguments.

    As in fairseq's commands, the flag may stand anywhere.
    """
    parser = argparse.ArgumentParser(prog="floater", add_help=False, allow_abbrev=False)
    _add_user_dir(parser)
    found, rest = parser.parse_known_args(arguments)
    return found.user_dir, rest


def _add_user_dir(parser: argparse.ArgumentParser) -> None:
    help = "folder of a module to import first, such as one with your own position encoder"
    parser.add_argument("--user-dir", metavar="FOLDER", help=help)


def _import_user_dir(folder: str) -> None:
    """Import a module before the commands are created: their flags offer its kinds as choices.

    Raises:
        UserError: if there is no such module.
    """
    if not folder or not os.path.isfile(os.path.join(folder, "__init__.py")):
        raise UserError(f"--user-dir {folder!r} has no __init__.py: name the folder of a module")
    try:
        import_user_module(argparse.Namespace(user_dir=folder))
    except ImportError as error:  # fairseq's own, if another module has the name of the folder
        raise UserError(f"--user-dir {folder} cannot be imported: {first_line(error)}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="floater", description="Tools for FLOATER in fairseq.", allow_abbrev=False
    )
    _add_user_dir(parser)  # only for --help: it is no longer among the arguments
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"fairseq_floater.commands.{name.replace('-', '_')}")
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.SUMMARY, epilog=ALSO
        )
        module.add_arguments(command)
        command.set_defaults(command=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
