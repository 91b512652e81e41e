"""Show how trajectories grow with the position, and how far apart they stay, before any training.

Prints the mean norm of p at several positions, and the distance of tracks from their mean as a
share of that norm. Delta is 0.1, and the random initial values have norm 1. The solve is in float64
with two rk4 steps per position. "inf" is a value beyond float32.

    python recipes/benchmarks/dynamics.py > recipes/results/dynamics.md
"""

import argparse
import sys

import torch

from fairseq_floater.encoders import build_dynamics
from fairseq_floater.ode.runge_kutta import ACTIVATIONS
from fairseq_floater.ode.solver import solve
from fairseq_floater.options import PositionOptions

#: what the dynamics may start as
STARTS = ("oscillators", "random")

POSITIONS = (0, 16, 64, 256, 1024, 4096)
FLOAT32_MAX = 3.4e38


def trajectories(dim: int, tracks: int, **options) -> torch.Tensor:
    torch.manual_seed(0)
    dynamics = build_dynamics(PositionOptions(dynamics="mlp", **options).validate(), dim).double()
    initial = torch.randn(tracks, dim, dtype=torch.float64) * dim**-0.5
    times = torch.arange(POSITIONS[-1] + 1, dtype=torch.float64) * 0.1
    with torch.no_grad():
        return solve(dynamics, initial, times, steps_per_position=2)


def show(states: torch.Tensor) -> str:
    """Show, for states (tracks, dim), the mean norm and the share not common to all tracks."""
    norm = float(states.norm(dim=1).mean())
    if not norm < FLOAT32_MAX:
        return "inf"
    apart = float((states - states.mean(dim=0)).norm(dim=1).mean()) / norm
    return f"{norm:.3g} ({apart:.0%})"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dim", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--tracks", type=int, default=12, help="default: %(default)s")
    args = parser.parse_args()
    print(f"# How trajectories grow and part before any training: d = {args.dim}, delta 0.1\n")
    print(f"Mean norm of p over {args.tracks} tracks at position 0, 16, ..., and in brackets their")
    print("distance from their mean, as a share of that norm. They start at norm 1.\n")
    print("| start | activation | scale | damping | " + " | ".join(map(str, POSITIONS)) + " |")
    print("|---" * (4 + len(POSITIONS)) + "|")
    for start in STARTS:
        for activation in sorted(ACTIVATIONS):
            for scale in (1.0, 0.3):
                for damping in (0.0, 0.5):
                    states = trajectories(
                        args.dim,
                        args.tracks,
                        dynamics_init=start,
                        dynamics_activation=activation,
                        dynamics_init_scale=scale,
                        dynamics_damping=damping,
                    )
                    cells = " | ".join(show(states[:, i]) for i in POSITIONS)
                    print(f"| {start} | {activation} | {scale} | {damping} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
