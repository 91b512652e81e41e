"""Where the project's files are."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PLUGIN = ROOT / "fairseq_floater"
PREP = ROOT / "data-prep"
