"""Run fairseq's programs and ours as a user runs them.

They run in processes forked by fork_server.py, which imports torch, fairseq and everything else
that they use, once for all. With ``bare=True``, it has imported only torch and fairseq. With
``fresh=True``, programs run in an interpreter of their own, which takes seconds to start.
"""

import atexit
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from places import ROOT, TESTS


@dataclass
class Result:
    """What a program left behind."""

    returncode: int
    out: str
    err: str

    def losses(self, tag="train_inner"):
        """Return losses in the order they were logged: ``train_inner`` (updates), ``valid``, ..."""
        found = re.findall(rf"(?:\| {tag} \||\[{tag}\]).*?\bloss[= ]([^ ,|]+)", self.out)
        return [float(loss) for loss in found]

    def lines(self, kind):
        """Return by sentence number what follows it in lines such as ``H-0 <tab> ...``."""
        found = re.findall(rf"^{kind}-(\d+)\t(.*)$", self.out, re.MULTILINE)
        return {int(number): text for number, text in found}

    def hypotheses(self):
        """Return (score, text) by sentence number."""
        pairs = {n: line.split("\t") for n, line in self.lines("H").items()}
        return {n: (float(score), text) for n, (score, text) in pairs.items()}

    @property
    def last_error_line(self):
        return self.err.strip().splitlines()[-1]


def environment(**variables):
    """Return the environment of every program: one thread, no GPU, and this project's package."""
    inherited = {name: text for name, text in os.environ.items() if name != "FLOATER_TRACEBACK"}
    folders = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {
        **inherited,
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",  # as in recipes, whose programs would not be forked otherwise
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(folders),
        **{name: str(value) for name, value in variables.items()},
    }


@cache
def fork_server():
    """Return the folder of the servers' sockets, after starting servers if there are none yet.

    See fork_server.py for what each server is for. run.sh has started them already.
    """
    if "FORK_SERVER" in os.environ:
        return os.environ["FORK_SERVER"]
    folder = tempfile.mkdtemp(prefix="fork")
    with contextlib.ExitStack() as stack:
        numbers = [stack.enter_context(listener).fileno() for listener in listeners(folder)]
        process = subprocess.Popen(
            serving(numbers),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=numbers,
        )

    def stop():
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)  # if they could not remove it

    atexit.register(stop)
    return folder


def listeners(folder):
    """Return the sockets of the servers, in the order of ``serving``."""
    found = []
    for name in ("small", "bare", "fairseq", "plugin"):
        found.append(socket.socket(socket.AF_UNIX))
        found[-1].bind(f"{folder}/{name}")
        found[-1].listen()
    return found


def serving(numbers):
    """Return the command of the servers at sockets with these numbers."""
    return [sys.executable, str(TESTS / "fork_server.py"), *map(str, numbers)]


FORKED = [sys.executable, "-IS", TESTS / "fork_client.py"]


def start(program, *arguments, fresh=False, bare=False, **kwargs):
    """Start ``floater``, fairseq-``program``, or a Python script by its path; do not wait."""
    if not Path(program).is_absolute():
        name = program if program == "floater" else f"fairseq-{program}"
        program = Path(sysconfig.get_path("scripts")) / name
    command = [*([sys.executable] if fresh else FORKED), program, *arguments]
    variables = {} if fresh else {"FORK_SERVER": fork_server(), "FORK_LEVEL": "bare" * bare}
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment(**variables),
        stdin=kwargs.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def run(program, *arguments, input=None, **kwargs):
    """Run a program to its end, with any exit code."""
    if input is not None:
        kwargs["stdin"] = subprocess.PIPE
    with start(program, *arguments, **kwargs) as process:
        out, err = process.communicate(input)
    return Result(process.returncode, out, err)


def succeed(program, *arguments, **kwargs):
    """Run a program to its end, and check that it succeeds."""
    result = run(program, *arguments, **kwargs)
    assert result.returncode == 0, result.err
    return result


def together(function, commands, workers=2):
    """Call ``function`` for each of ``commands``, a dict of argument lists, two at a time."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {name: pool.submit(function, *command) for name, command in commands.items()}
        return {name: future.result() for name, future in futures.items()}


def forks_of_bash():
    """Return variables that make bash fork fairseq's programs, ``floater`` and our scripts."""
    return {
        "BASH_ENV": TESTS / "fork_programs.sh",
        "FORK_SERVER": fork_server(),
        "FORK_PYTHON": FORKED[0],
        "FORK_CLIENT": FORKED[-1],
    }


def bash(*command, **options):
    """Run bash with these arguments.

    ``variables`` are added to the environment; the other options are those of ``subprocess.run``.
    """
    variables = forks_of_bash() | options.pop("variables", {})
    return subprocess.run(
        ["bash", *map(str, command)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        **options,
    )


if __name__ == "__main__":  # python launching.py FOLDER: become the servers of fork_server() there
    numbers = [listener.detach() for listener in listeners(sys.argv[1])]
    for number in numbers:
        os.set_inheritable(number, True)
    os.execve(sys.executable, serving(numbers), environment())
