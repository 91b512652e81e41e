"""Shared code of the programs that turn published questions into the splits of a corpus."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stages import Parser, write

Report = dict[str, dict[str, Any]]  # by split: counts by name, and a list under "left out"


def show(report: Report, unit: str) -> None:
    """Print the counts and what was left out; ``unit`` names the things that were left out."""
    for split, counts in report.items():
        numbers = ", ".join(f"{n:,} {what}" for what, n in counts.items() if what != "left out")
        print(f"{split}: {numbers}")
        if bad := counts["left out"]:
            print(f"{split}: {len(bad):,} {unit} left out, for example: {'; '.join(bad[:3])}")


def split_up(
    description: str,
    corpora: Iterable[str],
    prepare: Callable[[str, Path, Path], Report],
    unit: str,
) -> None:
    """Run the program: prepare a corpus from a folder of published files, and report the counts."""
    parser = Parser(description=description)
    parser.add_argument("corpus", choices=corpora)
    parser.add_argument("folder", type=Path, help="folder of the published files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    report = prepare(args.corpus, args.folder, args.out)
    write(args.out / "report.json", json.dumps(report, indent=1, ensure_ascii=False).encode())
    show(report, unit)
