"""Shared code of the corpus programs: options, whole-file writes, one-line errors."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from whole import written


class UserError(Exception):
    """Something the user can fix; the message names the thing, its value and the fix."""


def decode(line: bytes, name: Path | str, number: int) -> str:
    """Decode a line of UTF-8; an error names the file, line and byte, counted from 1."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}, line {number}, byte {error.start + 1}: not UTF-8 ({error.reason}): convert "
            "the file to UTF-8"
        ) from None


def lines_of(content: bytes, name: Path | str) -> list[str]:
    """Return the lines of UTF-8 without their ends; only a newline ends one."""
    lines = enumerate(content.removesuffix(b"\n").split(b"\n"), 1)
    return [decode(line, name, number).rstrip("\r") for number, line in lines]


def join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    with written(path) as file:
        file.write(content)


class Parser(argparse.ArgumentParser):
    """Shows its description as it is laid out, takes no option shortened, and fails in one line."""

    def __init__(self, **options: Any) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": layout, "allow_abbrev": False, **options})

    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}: see --help\n")


def within(kind: type, low: float, high: float) -> Callable[[str], float]:
    """Return an argparse type: a number of this kind from low to high."""

    def parse(text: str) -> float:
        try:
            if low <= (value := kind(text)) <= high:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind.__name__} from {low} to {high}")

    return parse


def one_line(text: str) -> str:
    """Make foreign text fit to be shown: one short line without control characters."""
    text = " ".join(text.split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= 300 else shown[:300] + "..."


class Ended(SystemExit):
    """A signal asked the program to end; an exception, so that clean-up code runs."""


def _end(owner: int) -> Callable[[int, object], None]:
    def end(number: int, frame: object) -> None:
        if os.getpid() == owner:
            raise Ended(128 + number)
        signal.signal(number, signal.SIG_DFL)  # in a process that the program has forked
        os.kill(os.getpid(), number)

    return end


def report_errors(run: Callable[[], None]) -> int:
    """Run a program; an error that the user can fix is one line on stderr and exit code 1.

    SIGTERM and SIGHUP end the program with the exit code that a shell reports for them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _end(os.getpid()))
    code = 1
    try:
        run()
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        place = error.filename or "output"
        mend = "check that it can be read and written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "make room, then run again"
        message = f"{place}: {error.strerror or error}: {mend}"
    except KeyboardInterrupt:
        message = "interrupted: run again to continue"
    except Ended as ended:
        code = ended.code
        message = f"ended by {signal.Signals(code - 128).name}: run again to continue"
    print(f"error: {message}", file=sys.stderr)
    return code
