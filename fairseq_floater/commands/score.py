"""``floater score``: score a run's translations."""

import argparse
from pathlib import Path

SUMMARY = "score a run's translations into one JSON file"


def add_arguments(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=Path, help="folder with train.log and generate.TEST.log")
    add("--data", type=Path, required=True, help="the corpus, as data-prep leaves it")
    add("--name", required=True, help="EXPERIMENT/PAIR/ROW")
    add("--checkpoint", type=Path, required=True, help="checkpoint that generated the translations")
    add("--tests", required=True, help="test sets, such as test2016,test2017")
    add("--bins", default="", help="also score by source words: upper ends, such as 12,16,20")
    help = (
        "also score by source subwords: upper ends, such as 1,1.33, relative to training sentences"
    )
    add("--subword-bins", default="", help=help)
    add(
        "--compound-split",
        action="store_true",
        help="also give tokenised BLEU with compounds split",
    )
    add("--order", type=int, default=0, help="place of the row in its table; default: %(default)s")
    add("--seed", type=int, default=1, help="seed of the training; default: %(default)s")
    add("--out", type=Path, required=True, help="folder of results; one JSON file per run")


def run(args: argparse.Namespace) -> None:
    from fairseq_floater.results.lengths import parse_edges, parse_relative
    from fairseq_floater.results.run import score_run

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
        parse_relative(args.subword_bins),
        args.compound_split,
    )
    for test, scores in record.tests.items():
        tokenised = scores.get("bleu_tokenised")
        extra = "" if tokenised is None else f", tokenised BLEU {tokenised:.2f}"
        print(f"{test}: BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}{extra}")
    print("\n".join(f"{name}: {text}" for name, text in record.signatures.items()))
