"""The examples in plain PyTorch, executed as they stand."""

import re

import pytest
from launching import run
from places import ROOT

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
def test_examples(example, printed, tmp_path):
    """One of them imports by itself everything that it uses, except torch and fairseq."""
    path = tmp_path / "example.py"
    path.write_text(EXAMPLES[example])
    done = run(path, bare=example == 1)
    assert re.fullmatch(printed, done.out.strip()), done.out + done.err


def test_every_example_is_executed():
    assert len(EXAMPLES) == 3
