"""``floater report``: show results side by side."""

import argparse
from pathlib import Path
from typing import List

SUMMARY = "make a table and a picture of a folder of results"


def seeds(text: str) -> List[int]:
    """Return the numbers in a text such as ``2,3``."""
    return [int(part) for part in text.split(",")]


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    help = "folder of results from floater score or score-labels; several: methods by corpora"
    add("folders", type=Path, nargs="+", metavar="folder", help=help)
    add("--out", type=Path, required=True, help="file to write, without its ending: .md, and .png")
    add("--baseline", help="row to test significance against")
    add(
        "--seeds",
        type=seeds,
        default=(),
        help="use these seeds only, such as 2,3,4; default: all",
    )
    help = "file of hypotheses: write only a table of how they turned out over seeds"
    add("--hypotheses", type=Path, metavar="FILE", help=help)
    add("--title", default="", help="title of the page; default: the experiment's name")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.errors import UserError
    from fairseq_floater.results.hypotheses import decide
    from fairseq_floater.results.losses import report_losses, without_tests
    from fairseq_floater.results.report import report
    from fairseq_floater.results.summary import summarise
    from fairseq_floater.understanding.report import of_labels, report_labels

    if args.out.name in ("", ".."):
        raise UserError(f"--out {args.out} names no file: give a path such as results/table")
    folder, *others = args.folders
    made = [".md"]
    labelled = {name: of_labels(name) for name in args.folders}
    if args.hypotheses is not None:
        if others or args.baseline or args.title or args.seeds:
            raise UserError(
                "--hypotheses is for one folder and its file has the baselines and seeds: leave "
                "out all other folders, --baseline, --seeds and --title"
            )
        decide(folder, args.hypotheses, args.out)
    elif all(labelled.values()):
        report_labels(args.folders, args.out, args.baseline, args.title, args.seeds)
    elif others:
        for name, has_labels in labelled.items():
            if has_labels or without_tests(name):
                raise UserError(f"{name} has no translations: report it apart from those that have")
        summarise(args.folders, args.out, args.baseline, args.title, args.seeds)
        made.append(".png")
    elif without_tests(folder):
        report_losses(folder, args.out, args.title, args.seeds)
    else:
        report(folder, args.out, args.baseline, args.title, args.seeds)
        made.append(".png")
    for ending in made:
        print(f"{args.out}{ending}")
