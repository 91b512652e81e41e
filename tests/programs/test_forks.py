"""Programs that fork_server.py forks behave as in an interpreter of their own."""

import re
import signal

import pytest
from commands import TRAINING
from launching import bash, run, start, succeed

pytest_plugins = ["commands"]

PROGRAM = """
import atexit, logging, os, random, sys
import numpy
atexit.register(print, "the end")
kind, *_ = sys.argv[1:]
print(__name__, os.path.basename(sys.argv[0]), sys.path[0], os.getcwd(), sys.stdin.read())
print([name for name in sys.modules if name.startswith("fairseq_")], flush=True)
if kind == "code":
    sys.exit(3)
elif kind == "message":
    sys.exit("that is all")
elif kind == "hook":
    sys.excepthook = lambda kind, error, trace: print("seen:", error, file=sys.stderr)
    raise ValueError("a bad value")
elif kind == "trace":
    raise ValueError("a bad value")
elif kind == "signal":
    os.kill(os.getpid(), int(sys.argv[2]))
elif kind == "wait":
    import signal, time
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "folder" / "program.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize(
    "arguments",
    [["code"], ["message"], ["hook"], ["trace"], ["signal", 15], ["signal", 9], ["none"]],
    ids=lambda arguments: "-".join(map(str, arguments)),
)
def test_every_end_is_that_of_a_fresh_interpreter(arguments, program, tmp_path):
    forked, fresh = (
        run(program, *arguments, input="some words", cwd=tmp_path, fresh=fresh)
        for fresh in (False, True)
    )
    assert forked == fresh
    assert "__main__ program.py" in forked.out and "some words" in forked.out


@pytest.mark.parametrize(
    "number, code, message",
    [(signal.SIGTERM, 1, "asked to end\n"), (signal.SIGKILL, -signal.SIGKILL, "")],
    ids=["asked", "killed"],
)
def test_signals_reach_the_program(number, code, message, program):
    with start(program, "wait") as process:
        while process.stdout.readline() != "ready\n":
            pass
        process.send_signal(number)
        assert process.communicate()[1] == message  # its files are closed, so it has ended
    assert process.returncode == code


def test_an_interpreter_that_starts_otherwise_is_fresh(program, tmp_path):
    """That is, where the environment changes what Python does when it starts."""
    (tmp_path / "fairseq_cli").mkdir()
    (tmp_path / "fairseq_cli" / "__init__.py").write_text("")
    (tmp_path / "fairseq_cli" / "train.py").write_text("cli_main = lambda: print('a stand-in')")
    for variables, stand_in in ({"PYTHONPATH": tmp_path}, True), ({}, False):
        done = bash("-c", "fairseq-train --help", variables=variables)
        assert done.returncode == 0, done.stderr
        assert (done.stdout == "a stand-in\n") == stand_in


def test_programs_of_the_bare_server_import_by_themselves(tmp_path):
    """They start without what other programs, or later parts of torch and fairseq, import."""
    script, names = tmp_path / "script.py", ("matplotlib", "sacremoses", "torch._dynamo")
    script.write_text(f"import sys\nprint(*(name for name in {names} if name in sys.modules))")
    assert succeed(script, bare=True).out.split() == []
    assert succeed(script).out.split() == list(names)


def test_a_training_prints_what_it_does_in_a_fresh_interpreter(corpus, tmp_path):
    """Except for numbers, and what fairseq logs during its import. The losses are equal too."""
    command = ["train", corpus, *TRAINING, "--arch", "floater_transformer", "--max-update", 2]
    printed = []
    for fresh in (False, True):
        folder = tmp_path / f"fresh is {fresh}"
        result = succeed(*command, "--save-dir", folder, fresh=fresh)
        text = result.out.replace(str(folder), "FOLDER")
        lines = [re.sub(r"\d[\d.]*(e[+-]\d+)?", "N", line) for line in text.splitlines()]
        printed.append([line for line in lines if "tensorboardX" not in line])
        printed.append(result.losses())
    assert printed[0] == printed[2] and printed[1] == printed[3]
