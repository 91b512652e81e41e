"""Compare our solve with the authors' setting, in one run: seconds, and errors against float64.

The peer is ``torchdiffeq.odeint_adjoint`` with rk4 and step delta/5, as in the paper's code. Ours
is rk4 with each number of steps per position in --steps. All share dynamics, initial
values and loss (a fixed random projection of the states). The dynamics are oscillators, as they
start by default, or random (Xavier), which move more slowly. The peer and ours are run alike: once
as a warm-up, and then --repeats times, or fewer if --seconds have passed. The median is printed.
Errors are relative, in the Euclidean norm over all states, and over the gradients of all weights
and initial values together:

    states     against torchdiffeq's dopri5 in float64 at tolerance 1e-10
    gradients  against our rk4 in float64 with 8 steps per position; the distance of its states
               from that dopri5 is printed in the last column

    python recipes/benchmarks/solver.py --dims 512 --positions 64,256 > recipes/results/solver.md
    python recipes/benchmarks/solver.py --start random --steps 1,1/2,1/4 \\
        > recipes/results/solver_random.md
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torchdiffeq
from torch import Tensor

from fairseq_floater.commands.arguments import at_least_one
from fairseq_floater.encoders import build_dynamics
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.solver import solve
from fairseq_floater.options import PositionOptions

#: what the dynamics may start as
STARTS = ("oscillators", "random")

DELTA = 0.1


def numbers(text: str) -> list[int]:
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: all must be >= 1")
    return values


def relative(a: list[Tensor], b: list[Tensor]) -> float:
    a, b = (torch.cat([x.detach().double().flatten() for x in part]) for part in (a, b))
    return float((a - b).norm() / b.norm())


def measure(
    run: Callable[[], Tensor],
    parameters: list[Tensor],
    projection: Tensor,
    args: argparse.Namespace,
) -> tuple[float, float, Tensor, list[Tensor]]:
    """Return median seconds forward and backward, states and gradients, after a warm-up run."""
    forward, backward = [], []
    for attempt in range(args.repeats + 1):
        start = time.perf_counter()
        states = run()
        middle = time.perf_counter()
        gradients = torch.autograd.grad((states * projection).sum(), parameters)
        end = time.perf_counter()
        if attempt:
            forward.append(middle - start)
            backward.append(end - middle)
        if sum(forward) + sum(backward) > args.seconds:
            break
    return statistics.median(forward), statistics.median(backward), states, list(gradients)


def compare(dim: int, positions: int, args: argparse.Namespace) -> None:
    torch.manual_seed(0)
    dynamics = MLPDynamics(dim)
    if args.start == "oscillators":
        dynamics = build_dynamics(PositionOptions(position_delta=DELTA, dynamics="mlp"), dim)
    initial = torch.randn(args.tracks, dim, requires_grad=True)
    projection = torch.randn(args.tracks, positions, dim) / positions
    times = torch.arange(positions, dtype=torch.float64) * DELTA
    parameters = [initial, *dynamics.parameters()]

    double = copy.deepcopy(dynamics).double()
    start = initial.detach().double().requires_grad_()
    with torch.no_grad():
        exact = torchdiffeq.odeint(double, start, times, rtol=1e-10, atol=1e-10, method="dopri5")
        exact = exact.transpose(0, 1)
    fine = solve(double, start, times, steps_per_position=8)
    gradients = torch.autograd.grad(
        (fine * projection.double()).sum(), [start, *double.parameters()]
    )
    check = relative([fine], [exact])

    def peer() -> Tensor:
        options = {"step_size": DELTA / 5}
        states = torchdiffeq.odeint_adjoint(
            dynamics, initial, times.float(), method="rk4", options=options
        )
        return states.transpose(0, 1)

    def row(name: str, result: tuple, base: float | None) -> float:
        forward, backward, states, found = result
        total = forward + backward
        print(
            f"| {dim} | {positions} | {name} | {forward:.3f} | {backward:.3f} | "
            f"{(base or total) / total:.1f} | {relative([states], [exact]):.1e} | "
            f"{relative(found, list(gradients)):.1e} | {check:.0e} |",
            flush=True,
        )
        return total

    base = row("odeint_adjoint rk4, delta/5", measure(peer, parameters, projection, args), None)
    for steps in args.steps:

        def ours(steps: str = steps) -> Tensor:
            return solve(dynamics, initial, times, steps_per_position=steps)

        result = measure(ours, parameters, projection, args)
        row(f"ours rk4, {steps} per position", result, base)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dims", type=numbers, default=[128, 512, 1024], help="default: %(default)s"
    )
    parser.add_argument(
        "--positions", type=numbers, default=[64, 256, 1024], help="default: %(default)s"
    )
    parser.add_argument("--tracks", type=at_least_one, default=18, help="default: %(default)s")
    parser.add_argument(
        "--repeats", type=at_least_one, default=5, help="runs that are timed; default: %(default)s"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="after so many, a solve is not run again; default: %(default)s",
    )
    parser.add_argument("--start", choices=STARTS, default=STARTS[0], help="default: %(default)s")
    parser.add_argument(
        "--steps",
        type=lambda text: text.split(","),
        default=["2", "1", "1/2"],
        help="default: 2,1,1/2",
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("# Seconds and errors of a solve, against the setting of the paper's code\n")
    print(
        f"h {args.start}, {args.tracks} tracks, float32, {args.threads} threads, "
        f"torch {torch.__version__}, torchdiffeq {torchdiffeq.__version__}\n"
    )
    print(
        "| d | positions | solve | forward s | backward s | times faster | error of states | "
        "error of gradients | reference check |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for dim in args.dims:
        for positions in args.positions:
            compare(dim, positions, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
