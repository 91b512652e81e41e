"""Give a published RoBERTa the dictionary and the tokenizer that our data preparation uses.

    python data-prep/roberta.py roberta.base/dict.txt encoder.json vocab.bpe --out base

writes base/dict.txt and base/tokenizer.json.  fairseq's RoBERTa numbers the pieces of GPT-2 and has
these numbers for words in its dictionary; here the dictionary has the pieces, in the same order, so
that a model's weights stay as they are.
"""

import argparse
import json
import sys
from pathlib import Path

from stages import Parser, UserError, decode, join_lines, report_errors, write
from tokenizers import ByteLevelBPETokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def read_pieces(path: Path) -> dict[str, str]:
    """The pieces of encoder.json by their numbers, as text."""
    try:
        return {str(int(number)): piece for piece, number in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not GPT-2's ({error}): delete it and run again") from None


def renamed(dictionary: Path, pieces: dict[str, str]) -> list[str]:
    """The lines of a dictionary with pieces for their numbers; those that fill it up stay."""
    lines = []
    for number, line in enumerate(dictionary.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
        word, _, count = decode(line, dictionary, number).rpartition(" ")
        if word not in pieces and not word.startswith("madeupword"):
            place = f"{dictionary}, line {number}"
            raise UserError(f"{place}: {word!r} is no piece of GPT-2's: get it from fairseq's page")
        lines.append(f"{pieces.get(word, word)} {count}")
    return lines


def tokenizer(pieces: dict[str, str], merges: Path) -> str:
    """GPT-2's, and the special pieces of RoBERTa after its own."""
    numbers = {piece: int(number) for number, piece in pieces.items()}
    rules = [
        tuple(decode(line, merges, number).split(" "))
        for number, line in enumerate(merges.read_bytes().splitlines(), 1)
        if line and not line.startswith(b"#version")
    ]
    if wrong := next((rule for rule in rules if len(rule) != 2), None):
        raise UserError(f"{merges} has the line {' '.join(wrong)!r}: delete it and run again")
    made = ByteLevelBPETokenizer(numbers, rules, trim_offsets=True)
    made.add_special_tokens(SPECIAL)
    return str(made.to_str())


def parse_args() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("dictionary", type=Path, help="dict.txt of the model")
    parser.add_argument("encoder", type=Path, help="encoder.json of GPT-2")
    parser.add_argument("merges", type=Path, help="vocab.bpe of GPT-2")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    pieces = read_pieces(args.encoder)
    write(args.out / "dict.txt", join_lines(renamed(args.dictionary, pieces)))
    write(args.out / "tokenizer.json", tokenizer(pieces, args.merges).encode())


if __name__ == "__main__":
    sys.exit(report_errors(main))
