"""Files and folders are made whole or not at all, and nothing else is touched."""

import re
import signal
import subprocess
import sys

import pytest
from corpora import environment
from places import PREP
from whole import filled, written


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "file"
    with written(path) as file:
        file.write(b"all")
        (part,) = path.parent.iterdir()
        assert re.fullmatch(r"\.file\.[0-9a-f]{16}\.part", part.name)
    assert path.read_bytes() == b"all" and list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("make", [written, filled])
def test_an_error_leaves_nothing(tmp_path, make):
    with pytest.raises(ZeroDivisionError):
        with make(tmp_path / "name"):
            assert len(list(tmp_path.iterdir())) == 1
            1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other, path = tmp_path / "other", tmp_path / "link"
    other.write_text("precious")
    path.symlink_to(other)
    with written(path) as file:
        file.write(b"mine")
    assert other.read_text() == "precious" and path.read_text() == "mine"
    assert not path.is_symlink()


def test_two_at_once_do_not_share(tmp_path):
    path = tmp_path / "file"
    with written(path) as one, written(path) as two:
        one.write(b"one")
        two.write(b"two")
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


WAITING = """
import signal, sys, time
from stages import report_errors
from whole import filled, written
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as does one under nohup
def wait():
    with written(Path(sys.argv[1]) / "file"), filled(Path(sys.argv[1]) / "folder"):
        print("ready", flush=True)
        time.sleep(60)
from pathlib import Path
sys.exit(report_errors(wait))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)],
        env=environment(PYTHONPATH=PREP),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n" and len(list(tmp_path.iterdir())) == 2
    process.send_signal(number)
    _, err = process.communicate()
    assert err.endswith(": run again to continue\n") and err.count("\n") == 1
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert list(tmp_path.iterdir()) == []
