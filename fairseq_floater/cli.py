"""The ``floater`` command."""

import argparse
import logging
import sys
from pathlib import Path
from typing import List, Optional

from fairseq_floater.errors import UserError


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    logging.getLogger().setLevel(logging.WARNING)  # fairseq sets it to DEBUG for all libraries
    try:
        args.command(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="floater", description="Tools for FLOATER in fairseq.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, add_arguments, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        add_arguments(command)
        command.set_defaults(command=run)
    return parser


def _user_dir_arguments(command: argparse.ArgumentParser) -> None:
    pass


def _user_dir(args: argparse.Namespace) -> None:
    print(Path(__file__).resolve().parent)


def _heatmap_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="checkpoint",
        help="of a floater_transformer: one to see all its tracks, several to compare the first",
    )
    add("picture", type=Path, help="file to write, such as encodings.png")
    add("--stack", choices=("encoder", "decoder"), default="encoder", help="default: %(default)s")
    add("--positions", type=_at_least_one, default=252, help="how many; default: %(default)s")


def _heatmap(args: argparse.Namespace) -> None:
    from fairseq_floater.heatmap import draw_heatmap, draw_side_by_side  # slow to import

    if len(args.checkpoints) == 1:
        draw_heatmap(args.checkpoints[0], args.picture, args.stack, args.positions)
    else:
        draw_side_by_side(args.checkpoints, args.picture, args.stack, args.positions)
    print(args.picture)


def _average_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("checkpoints", type=Path, nargs="+", help="checkpoint files, or a --save-dir with --last")
    add("--last", type=_at_least_one, help="average the last so many of the --save-dir")
    add("--out", type=Path, required=True, help="checkpoint to write")


def _average(args: argparse.Namespace) -> None:
    from fairseq_floater.average import average_checkpoints, last_checkpoints

    checkpoints = args.checkpoints
    if args.last:
        checkpoints = [c for folder in checkpoints for c in last_checkpoints(folder, args.last)]
    average_checkpoints(checkpoints, args.out)
    print(f"{args.out}: average of {', '.join(c.name for c in checkpoints)}")


def _score_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=Path, help="folder with train.log and generate.TEST.log")
    add("--data", type=Path, required=True, help="the corpus, as data-prep leaves it")
    add("--name", required=True, help="EXPERIMENT/PAIR/ROW")
    add("--checkpoint", type=Path, required=True, help="what was generated with")
    add("--tests", required=True, help="test sets, such as test2016,test2017")
    add("--bins", default="", help="score by source words too: upper ends, such as 12,16,20")
    add("--compound-split", action="store_true", help="tokenised BLEU with compounds split, too")
    add("--order", type=int, default=0, help="of the row in its table; default: %(default)s")
    add("--seed", type=int, default=1, help="of the training; default: %(default)s")
    add("--out", type=Path, required=True, help="folder of results; one JSON file a run")


def _score(args: argparse.Namespace) -> None:
    from fairseq_floater.results.run import parse_edges, score_run

    record = score_run(
        args.run,
        args.data,
        args.out,
        args.name,
        args.checkpoint,
        args.tests.split(","),
        args.order,
        args.seed,
        parse_edges(args.bins),
        args.compound_split,
    )
    for test, scores in record.tests.items():
        tokenised = scores.get("bleu_tokenised")
        extra = "" if tokenised is None else f", tokenised BLEU {tokenised:.2f}"
        print(f"{test}: BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}{extra}")
    print("\n".join(f"{name}: {text}" for name, text in record.signatures.items()))


def _report_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("folder", type=Path, help="of results, as floater score leaves it")
    add("--out", type=Path, required=True, help="file to write without ending: .md and .png")
    add("--baseline", help="row to test significance against")
    add("--title", default="", help="of the page; default: the experiment's name")


def _report(args: argparse.Namespace) -> None:
    from fairseq_floater.results.report import report

    report(args.folder, args.out, args.baseline, args.title)
    print(f"{args.out}.md\n{args.out}.png")


#: name to what runs it, what adds its arguments, and its help
_COMMANDS = {
    "user-dir": (_user_dir, _user_dir_arguments, "print the path to give as --user-dir"),
    "heatmap": (_heatmap, _heatmap_arguments, "draw a checkpoint's position encodings"),
    "average": (_average, _average_arguments, "average checkpoints into one"),
    "score": (_score, _score_arguments, "score a run's translations into one JSON file"),
    "report": (_report, _report_arguments, "make a table and a picture of a folder of results"),
}


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
