"""Learn subwords from text, and cut text into them.

    python data-prep/subword.py learn --method subword-nmt --size 10000 MODEL train.en train.de
    python data-prep/subword.py apply --method subword-nmt MODEL <train.en >bpe/train.en

subword-nmt     byte-pair encoding; the size is the number of merges.  MODEL and subwords are those
                of `cat FILE... | subword-nmt learn-bpe -s SIZE` and of `subword-nmt apply-bpe`.
                For text that is already cut into words.
sentencepiece   a unigram model; the size is the number of pieces.  For plain text: white space is
                folded and nothing else is changed, so that pieces join to the exact sentence.

One model is learned for all files; the same text gives the same model.  Only "\\n" ends a line.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from stages import Parser, UserError, decode, report_errors, within, write


def lines_of(file: BinaryIO, name: Path | str) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        yield decode(line, name, number)


def read_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield from lines_of(file, path)


def learn_merges(lines: Iterator[str], size: int, symbols: list[str]) -> bytes:
    """Learn byte-pair merges; fewer than ``size`` if the text has no more pairs."""
    if symbols:
        raise UserError(f"--symbol {symbols[0]} needs --method sentencepiece")
    from subword_nmt.learn_bpe import learn_bpe

    codes = io.StringIO()
    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):  # its progress bar
            learn_bpe(lines, codes, size)
    except ValueError:  # from max() of nothing
        raise UserError(f"--size {size} is too high for so little text: lower it") from None
    return codes.getvalue().encode()


def learn_pieces(lines: Iterator[str], size: int, symbols: list[str]) -> bytes:
    """Train sentencepiece with one thread and no paths, so that its bytes are reproducible."""
    import sentencepiece

    model, failed = io.BytesIO(), []

    def sentences() -> Iterator[str]:
        try:
            yield from (" ".join(line.split()) for line in lines)
        except Exception as error:  # which sentencepiece turns into an error of its own
            failed.append(error)
            raise

    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            character_coverage=1.0,
            user_defined_symbols=symbols,
            normalization_rule_name="identity",
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if failed:
            raise failed[0] from None
        why = str(error).strip().rpartition("] ")[2].rstrip(".")
        raise UserError(f"--size {size} does not suit the text: {why}") from None
    return model.getvalue()


def merges(model: Path) -> Callable[[str], str]:
    from subword_nmt.apply_bpe import BPE

    with model.open(encoding="utf-8", newline="\n") as codes:
        return BPE(codes).process_line


def pieces(model: Path) -> Callable[[str], str]:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return lambda line: " ".join(processor.encode(" ".join(line.split()), out_type=str)) + "\n"


# Each imports its own library only, because the scripts start this program once for every file.
METHODS = {"subword-nmt": (learn_merges, merges), "sentencepiece": (learn_pieces, pieces)}


def load_model(path: Path, method: str) -> Callable[[str], str]:
    """Load the model in a file, and return the function that cuts a line with it."""
    _, load = METHODS[method]
    if not path.read_bytes():
        raise UserError(f"{path} is empty: make it with subword.py learn --method {method}")
    try:
        with open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            return load(path)
    except (RuntimeError, ValueError, IndexError, SystemExit):  # whichever the library raises
        raise UserError(
            f"{path} is not a {method} model: make it with subword.py learn --method {method}"
        ) from None


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="learn | apply")
    learn = commands.add_parser("learn", help="learn a model from files")
    apply = commands.add_parser("apply", help="filter lines into lines of subwords")
    for command in (learn, apply):
        command.add_argument("--method", choices=METHODS, required=True)
        command.add_argument("model", type=Path, metavar="MODEL")
    sizes = within(int, 1, 10_000_000)
    learn.add_argument("--size", type=sizes, required=True, help="merges or pieces")
    learn.add_argument(
        "--symbol", action="append", default=[], metavar="SYMBOL", help="kept as one piece"
    )
    learn.add_argument("files", type=Path, nargs="+", metavar="FILE")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    if args.command == "learn":
        learn, _ = METHODS[args.method]
        lines = chain.from_iterable(map(read_lines, args.files))
        write(args.model, learn(lines, args.size, args.symbol))
        return
    cut = load_model(args.model, args.method)
    for line in lines_of(sys.stdin.buffer, "standard input"):
        sys.stdout.buffer.write(cut(line).encode())


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
