"""Shared code of the corpus programs: stages that run once, whole-file writes, one-line errors."""

import argparse
import errno
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from whole import written

Made = tuple[dict[str, bytes], dict[str, float]]  # files by path under OUT, figures by name


class UserError(Exception):
    """Something the user can fix; the message names the thing, its value and the fix."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode(line: bytes, name: Path | str, number: int) -> str:
    """Decode a line of UTF-8; an error names the file, line and byte, counted from 1."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}, line {number}, byte {error.start + 1}: not UTF-8 ({error.reason}): convert "
            "it or drop the pair"
        ) from None


def join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    with written(path) as file:
        file.write(content)


def read_manifest(path: Path) -> dict[str, dict]:
    """Return the entries of the finished stages; none if the manifest is missing or damaged."""
    try:
        manifest = json.loads(path.read_bytes())
        whole = all(
            isinstance(entry["outputs"], dict) and {"inputs", "report"} <= entry.keys()
            for entry in manifest.values()
        )
    except (FileNotFoundError, ValueError, AttributeError, KeyError, TypeError):
        return {}
    return manifest if whole else {}


def run_stage(program: Path, out: Path, name: str, inputs: dict, make: Callable[[], Made]) -> dict:
    """Run a stage unless its inputs and outputs match the manifest; return its entry.

    ``program`` counts as an input: if it has changed, the outputs are made again.
    """
    path, inputs = out / "manifest.json", inputs | {"program": sha256_of(program)}
    manifest = read_manifest(path)
    entry = manifest.get(name, {"inputs": None, "outputs": {}})
    if entry["inputs"] == inputs and all(
        (out / file).is_file() and sha256_of(out / file) == sha256
        for file, sha256 in entry["outputs"].items()
    ):
        print(f"{name}: unchanged, skipped", flush=True)
        return entry
    print(f"{name}: working ...", flush=True)
    start = time.monotonic()
    files, report = make()
    for stale in entry["outputs"].keys() - files:  # such as files of another language
        (out / stale).unlink(missing_ok=True)
    for file, content in files.items():
        write(out / file, content)
    outputs = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    manifest[name] = {"inputs": inputs, "outputs": outputs, "report": report}
    write(path, json.dumps(manifest, indent=1).encode())
    print(f"{name}: {len(files)} files in {time.monotonic() - start:.1f} s", flush=True)
    return manifest[name]


class Parser(argparse.ArgumentParser):
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
