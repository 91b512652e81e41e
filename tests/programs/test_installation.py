"""Where the plugin is, and what it says without a working fairseq."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from fairseq_floater import cli


def test_user_dir(capsys):
    assert cli.main(["user-dir"]) == 0
    assert Path(capsys.readouterr().out.strip()) == ROOT / "fairseq_floater"


@pytest.mark.parametrize(
    "fake, message",
    [
        (None, "needs fairseq"),
        ("raise ValueError('mutable default')", "cannot use this fairseq (mutable default)"),
    ],
)
def test_without_a_working_fairseq_one_line_says_what_to_install(fake, message, tmp_path):
    (tmp_path / "fairseq").mkdir()
    stand_in = "raise ModuleNotFoundError(\"No module named 'fairseq'\")" if fake is None else fake
    (tmp_path / "fairseq" / "__init__.py").write_text(stand_in)
    done = subprocess.run(
        [sys.executable, "-c", "import fairseq_floater"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().split("\n")[-1]
    assert done.returncode == 1 and message in last and "pip install ve-fairseq" in last
