"""Give a published RoBERTa the dictionary and the tokenizer that our data preparation uses.

    python data-prep/roberta.py roberta.base/dict.txt encoder.json vocab.bpe --out base

writes base/dict.txt and base/tokenizer.json.  The dictionary of fairseq's RoBERTa lists the GPT-2
pieces by their numbers; here it lists the pieces themselves, in the same order, so that the weights
of a model stay as they are.
"""

import argparse
import json
import sys
from pathlib import Path

from stages import Parser, UserError, decode, join_lines, report_errors, write
from tokenizers import ByteLevelBPETokenizer

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def read_pieces(path: Path) -> dict[str, str]:
    """Return the pieces of encoder.json by their numbers, written as text."""
    try:
        return {str(int(number)): piece for piece, number in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not GPT-2's ({error}): delete it and run again") from None


def renamed(dictionary: Path, pieces: dict[str, str]) -> list[str]:
    """Return the lines of a dictionary, with pieces in place of numbers; madeupwords stay."""
    lines = []
    for number, line in enumerate(dictionary.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
        word, _, count = decode(line, dictionary, number).rpartition(" ")
        if word not in pieces and not word.startswith("madeupword"):
            place = f"{dictionary}, line {number}"
            raise UserError(f"{place}: {word!r} is not a GPT-2 piece: get it from fairseq's page")
        lines.append(f"{pieces.get(word, word)} {count}")
    return lines


def tokenizer(pieces: dict[str, str], merges: Path) -> str:
    """Return GPT-2's tokenizer, with the special pieces of RoBERTa after its own."""
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
    parser = Parser(description=__doc__)
    parser.add_argument("dictionary", type=Path, help="the model's dict.txt")
    parser.add_argument("encoder", type=Path, help="GPT-2's encoder.json")
    parser.add_argument("merges", type=Path, help="GPT-2's vocab.bpe")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    pieces = read_pieces(args.encoder)
    write(args.out / "dict.txt", join_lines(renamed(args.dictionary, pieces)))
    write(args.out / "tokenizer.json", tokenizer(pieces, args.merges).encode())


if __name__ == "__main__":
    sys.exit(report_errors(main))
