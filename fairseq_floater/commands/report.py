"""``floater report``: results side by side."""

import argparse
from pathlib import Path

SUMMARY = "make a table and a picture of a folder of results"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=Path, help="of results, as floater score or score-labels leaves it")
    add("--out", type=Path, required=True, help="file to write without ending: .md, and .png")
    add("--baseline", help="row to test significance against")
    add("--title", default="", help="of the page; default: the experiment's name")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.results.report import report
    from fairseq_floater.understanding.report import of_labels, report_labels

    if of_labels(args.folder):
        report_labels(args.folder, args.out, args.baseline, args.title)
        print(f"{args.out}.md")
        return
    report(args.folder, args.out, args.baseline, args.title)
    print(f"{args.out}.md\n{args.out}.png")
