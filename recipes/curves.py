"""Show validation perplexities of trainings by the number of updates, as a table and a picture.

    python recipes/curves.py rotary=RUNS/.../train.log floater=RUNS/.../train.log --out curves

writes curves.md and curves.png. Trainings need not have ended.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict

from matplotlib.figure import Figure

from fairseq_floater.errors import UserError, show
from fairseq_floater.files import save_picture, write_text
from fairseq_floater.results.page import markdown
from fairseq_floater.results.training import validation_losses

Curves = Dict[str, Dict[int, float]]


def table(curves: Curves) -> str:
    """Return perplexities by updates (rows) and training (columns); cells without one are empty."""
    updates = sorted({update for curve in curves.values() for update in curve})
    rows = [
        [f"{update:,}", *(f"{2 ** c[update]:.2f}" if update in c else "" for c in curves.values())]
        for update in updates
    ]
    return markdown(["updates", *curves], rows)


def draw(curves: Curves, picture: Path) -> None:
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, curve in curves.items():
        axis.plot(list(curve), [2**loss for loss in curve.values()], label=name, linewidth=1.4)
    axis.set_yscale("log")
    axis.set_xlabel("updates")
    axis.set_ylabel("validation perplexity")
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=8)
    save_picture(figure, picture, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "logs", nargs="+", metavar="NAME=LOG", help="name to show, and the train.log"
    )
    parser.add_argument("--out", type=Path, required=True, help="path without an ending")
    args = parser.parse_args()
    try:
        curves = {}
        for given in args.logs:
            name, equals, log = given.partition("=")
            if not equals:
                raise UserError(f"{given} has no name: write NAME={given}")
            curves[name] = validation_losses(Path(log))
            if not curves[name]:
                raise UserError(f"{log} has no validation yet: wait, or leave it out")
        write_text(args.out.with_name(args.out.name + ".md"), table(curves) + "\n")
        draw(curves, args.out.with_name(args.out.name + ".png"))
    except (UserError, OSError) as error:
        show(error)
        return 1
    print(table(curves))
    return 0


if __name__ == "__main__":
    sys.exit(main())
