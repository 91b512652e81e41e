"""The table of validation losses of several trainings."""

import pytest
from launching import run, succeed
from places import ROOT

LOG = """\
2026-01-01 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 9.2 | nll_loss {} | ppl 1 \
| wps 1 | num_updates 10
2026-01-01 | INFO | train_inner | epoch 002: 1 / 2 loss=8.3, num_updates=15
2026-01-01 | INFO | valid | epoch 002 | valid on 'valid' subset | loss 8.2 | nll_loss {} | ppl 1 \
| wps 1 | num_updates {} | best_loss 8.2
"""


@pytest.fixture
def logs(tmp_path):
    for name, values in {"one": (3, 2, 20), "two": (4, 1, 30)}.items():
        (tmp_path / name).write_text(LOG.format(*values))
    return tmp_path


def test_by_updates(logs):
    out = logs / "curves"
    command = [f"one={logs / 'one'}", f"two={logs / 'two'}", "--out", out]
    done = succeed(ROOT / "recipes/curves.py", *command)
    assert (logs / "curves.md").read_text() == done.out
    assert done.out.splitlines() == [
        "| updates | one | two |",
        "| --- | --- | --- |",
        "| 10 | 8.00 | 16.00 |",
        "| 20 | 4.00 |  |",
        "| 30 |  | 2.00 |",
    ]
    assert (logs / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "given, message",
    [
        ("one", "has no name: write NAME="),
        ("x=empty", "has no validation yet"),
        ("x=no", "no is missing"),
    ],
)
def test_mistakes(given, message, logs):
    (logs / "empty").write_text("nothing\n")
    done = run(ROOT / "recipes/curves.py", given, "--out", "curves", cwd=logs)
    assert done.returncode == 1 and message in done.last_error_line
    assert done.err.count("\n") == 1
