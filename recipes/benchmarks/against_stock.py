"""Compare the cost of training on a CPU in our recipes with that of fairseq as it is installed.

The comparison goes from fairseq's own Transformer with its label-smoothed loss, in a plain
environment, to FLOATER with the allocator's settings of ``recipes/common.sh``, as recipes train it,
and then with the one-pass loss, with a row for each step between them. Each row is run in turn,
several times, each time in a process of its own.

    python recipes/benchmarks/against_stock.py > against_stock.md
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

from models import SIZES, STOCK, ratio
from training import ONE_PASS

from fairseq_floater.commands.arguments import at_least_one

HERE = Path(__file__).resolve().parent
COMMON = HERE.parent / "common.sh"

#: by row: the variant to train, and True if with the allocator's settings
STEPS = {
    "fairseq's Transformer, plain": (STOCK, False),
    "with the allocator's settings": (STOCK, True),
    "and FLOATER (linear)": ("floater, linear", True),
    "and the one-pass loss": (ONE_PASS, True),
}


def seconds(variant: str, settings: bool, args: argparse.Namespace) -> float:
    """Return the processor time per update, measured in a process of its own."""
    python = [sys.executable, str(HERE / "training.py"), "--json", "--builds", "1"]
    more = ["--sizes", args.size, "--words", str(args.words), "--variants", variant]
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    command = [*python, *more]
    if settings:
        command = ["bash", "-c", f'source "{COMMON}"; exec "$@"', "bash", *command]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    (times,) = json.loads(done.stdout.splitlines()[-1])[args.size].values()
    return float(times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", default="tiny", choices=list(SIZES), help="default: %(default)s")
    parser.add_argument("--words", type=at_least_one, default=10_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=at_least_one, default=4, help="default: %(default)s")
    args = parser.parse_args()
    found: Dict[str, List[float]] = {name: [] for name in STEPS}
    for number in range(args.rounds):
        # In turns, forwards and backwards, so that no row is always measured first.
        for name, (variant, settings) in list(STEPS.items())[:: 1 - 2 * (number % 2)]:
            found[name].append(seconds(variant, settings, args))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
    print("# Training on a CPU, against fairseq as it is installed\n")
    print(
        f"Size {args.size}, {args.words:,} words, one thread; {args.rounds} rounds, each with one "
        "process per row."
    )
    print("\n| | seconds per update | speed |\n|---|---|---|")
    first = next(iter(found.values()))
    for name, times in found.items():
        print(f"| {name} | {statistics.median(times):.3f} | {ratio(first, times)} |")


if __name__ == "__main__":
    main()
