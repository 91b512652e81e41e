"""How the encodings of a stack scale with the number of positions: time, memory, products, error.

For each kind of encodings and number of positions, prints for an update (encodings forward,
gradients backward, random parameters near the start):

    seconds     the least of several runs, in one process, on --device
    MiB         kept by the forward pass for the backward pass
    products    matrix products, in sequence or in parallel, forward and backward
    error       relative, against 20 steps per position in float64 (for equations only)

    python recipes/benchmarks/scaling.py --out recipes/results/scaling

writes scaling.json, scaling.md and scaling.png.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import torch
from launches import Counting
from matplotlib.figure import Figure
from models import add_device, clock, of_time

from fairseq_floater.encoders import FloaterEncoder, PositionEncoder, build_position_encoder
from fairseq_floater.files import save_picture, written_whole
from fairseq_floater.inspection.encoders import solver_error
from fairseq_floater.options import PositionOptions
from fairseq_floater.progress import Progress

KINDS: Dict[str, Dict[str, Any]] = {
    "floater, mlp": {"dynamics": "mlp"},
    "floater, linear": {"dynamics": "linear"},
    "floater, driven": {"dynamics": "driven"},
    "fourier": {"position_encoder": "fourier"},
    "rnn": {"position_encoder": "rnn", "position_injection": "bias"},
}
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv")


def encoder_of(kind: str, tracks: int, dim: int) -> PositionEncoder:
    encoder = build_position_encoder(PositionOptions(**KINDS[kind]).validate(), tracks, dim, seed=1)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name in encoder.track_parameters():
                parameter.normal_(std=0.1)
    return encoder


def kept_bytes(encoder: PositionEncoder, positions: int) -> int:
    """Return the bytes that a forward pass keeps: each storage once, without parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept: Dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = encoder(positions)
    del states
    return sum(kept.values())


def seconds(kind: str, positions: int, args: argparse.Namespace) -> float:
    """Return the least of several runs, after one that prepares what is kept between runs."""
    encoder = encoder_of(kind, args.tracks, args.dim).to(args.device)
    now, taken = clock(args.device), []
    for _ in range(args.repeats + 1):
        started = now()
        encoder(positions).square().mean().backward()
        taken.append(now() - started)
    return min(taken[1:])


def measure(kind: str, positions: int, args: argparse.Namespace) -> Dict[str, Any]:
    encoder = encoder_of(kind, args.tracks, args.dim)
    with Counting() as counting:
        encoder(positions).square().mean().backward()
    error = None
    if isinstance(encoder, FloaterEncoder) and positions <= args.exact_positions:
        error = solver_error(encoder, positions)
    return {
        "kind": kind,
        "positions": positions,
        "device": args.device,
        "seconds": seconds(kind, positions, args),
        "kept_mib": kept_bytes(encoder, positions) / 2**20,
        "products": sum(counting.seen[name] for name in PRODUCTS),
        "launches": counting.seen.total(),
        "error": error,
    }


def markdown(found: List[Dict[str, Any]], args: argparse.Namespace) -> str:
    lines = [
        "# Encodings by the number of positions",
        "",
        f"{args.tracks} tracks of width {args.dim}, float32. Seconds are {of_time(args.device)};",
        "everything else is counted on a CPU.",
        "",
        "| encodings | positions | seconds | MiB kept | products | launches | error |",
        "|---" * 7 + "|",
    ]
    for row in found:
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        lines.append(
            f"| {row['kind']} | {row['positions']:,} | {row['seconds']:.4f} | "
            f"{row['kept_mib']:,.1f} | {row['products']:,} | {row['launches']:,} | {error} |"
        )
    return "\n".join(lines) + "\n"


def draw(found: List[Dict[str, Any]], path: Path) -> None:
    shown = {"seconds": "seconds", "kept_mib": "MiB kept", "products": "products"}
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(shown))
    for axis, (name, label) in zip(axes, shown.items()):
        for kind in dict.fromkeys(row["kind"] for row in found):
            rows = [row for row in found if row["kind"] == kind]
            x, y = [row["positions"] for row in rows], [row[name] for row in rows]
            axis.loglog(x, y, marker="o", label=kind)
        axis.set_xlabel("positions")
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    save_picture(figure, path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument(
        "--positions", nargs="+", type=int, default=[64, 256, 1024, 4096, 16384], metavar="N"
    )
    parser.add_argument("--tracks", type=int, default=18)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--exact-positions", type=int, default=1024, help="most positions to find errors for (slow)"
    )
    add_device(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(kind, positions) for kind in args.kinds for positions in args.positions]
    progress = Progress("scaling: case", len(cases))
    found = []
    for number, case in enumerate(cases):
        progress.reached(number)
        found.append(measure(*case, args))
    args.out.mkdir(parents=True, exist_ok=True)
    for name, text in {"json": json.dumps(found, indent=1), "md": markdown(found, args)}.items():
        with written_whole(args.out / f"scaling.{name}") as file:
            file.write(text.encode())
    draw(found, args.out / "scaling.png")
    sys.stdout.write(markdown(found, args))


if __name__ == "__main__":
    main()
