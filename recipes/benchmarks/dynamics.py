"""How fast trajectories grow with the position, by activation, initial scale and damping.

Prints the mean norm of p at several positions, delta 0.1, from random initial values of norm 1,
with freshly initialised dynamics; solved in float64 with two rk4 steps a position. "inf" is
beyond float32.

    python recipes/benchmarks/dynamics.py > recipes/results/dynamics.md
"""

import argparse
import sys

import torch

from fairseq_floater.dynamics import MLPDynamics
from fairseq_floater.ode import solve
from fairseq_floater.runge_kutta import ACTIVATIONS

POSITIONS = (0, 16, 64, 256, 1024, 4096)
FLOAT32_MAX = 3.4e38


def norms(dim: int, tracks: int, **options) -> list[float]:
    torch.manual_seed(0)
    dynamics = MLPDynamics(dim, **options).double()
    initial = torch.randn(tracks, dim, dtype=torch.float64) * dim**-0.5
    times = torch.arange(POSITIONS[-1] + 1, dtype=torch.float64) * 0.1
    with torch.no_grad():
        states = solve(dynamics, initial, times, steps_per_position=2)
    return [float(states[:, i].norm(dim=-1).mean()) for i in POSITIONS]


def show(norm: float) -> str:
    return f"{norm:.3g}" if norm < FLOAT32_MAX else "inf"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dim", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--tracks", type=int, default=12, help="default: %(default)s")
    args = parser.parse_args()
    print(f"d = {args.dim}, {args.tracks} tracks, delta 0.1\n")
    print("| activation | initial scale | damping | " + " | ".join(map(str, POSITIONS)) + " |")
    print("|---" * (3 + len(POSITIONS)) + "|")
    for activation in sorted(ACTIVATIONS):
        for scale in (1.0, 0.3):
            for damping in (0.0, 0.5):
                found = norms(
                    args.dim, args.tracks, activation=activation, init_scale=scale, damping=damping
                )
                cells = " | ".join(map(show, found))
                print(f"| {activation} | {scale} | {damping} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
