"""The examples in plain PyTorch, executed as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/plain-pytorch.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)


@pytest.mark.parametrize(
    "example, printed",
    [
        (0, r"(100|9\d)% of the tokens are right\ntorch.Size\(\[1, 2000, 10\]\)"),
        (1, r"torch.Size\(\[3, 1000, 64\]\)"),
        (2, "True"),
    ],
)
def test_examples(example, printed):
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES[example]],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert re.fullmatch(printed, done.stdout.strip()), done.stdout + done.stderr


def test_every_example_is_executed():
    assert len(EXAMPLES) == 3
