"""What the corpus programs share: stages that run once, whole-file writes, one-line errors."""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Made = tuple[dict[str, bytes], dict[str, float]]  # files by path under OUT, figures by name


class UserError(Exception):
    """Something the user can mend; the message names the thing, its value and the mend."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def join_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing: an interrupted run leaves at most a ``.part``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def run_stage(program: Path, out: Path, name: str, inputs: dict, make: Callable[[], Made]) -> dict:
    """Run a stage unless its inputs and outputs are as the manifest has them; return its entry.

    ``program`` counts as an input: a changed program makes its outputs anew.
    """
    path, inputs = out / "manifest.json", inputs | {"program": sha256_of(program)}
    try:
        manifest = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        manifest = {}
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
    for stale in entry["outputs"].keys() - files:  # such as those of another language
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
    """An argparse type: a number of this kind from low to high."""

    def parse(text: str) -> float:
        try:
            if low <= (value := kind(text)) <= high:
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind.__name__} from {low} to {high}")

    return parse


def report_errors(run: Callable[[], None]) -> int:
    """Run a program; what the user can mend is one line on stderr and exit code 1."""
    try:
        run()
        return 0
    except UserError as error:
        message = str(error)
    except OSError as error:
        place = error.filename or "output"
        message = f"{place}: {error.strerror}: check that it can be read and written"
    except KeyboardInterrupt:
        message = "interrupted: run again to go on"
    print(f"error: {message}", file=sys.stderr)
    return 1
