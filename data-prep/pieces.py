"""Cut the lines of texts into the pieces of a pre-trained model.

    python data-prep/pieces.py --model model --out pieces raw/train.input0 ...

writes pieces/train.input0 and so on, with the same rows line for line.  The folder model has the
tokenizer.json that is used, and the dict.txt that knows its pieces.
"""

import argparse
import sys
from pathlib import Path

from stages import Parser, UserError, decode, join_lines, report_errors, write

from fairseq_floater import errors
from fairseq_floater.data import PieceTokenizer


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="a file to cut up")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def decoded(path: Path) -> list[str]:
    """Return the lines of a file."""
    with path.open("rb") as file:
        return [decode(line, path, number).rstrip("\n") for number, line in enumerate(file, 1)]


def main() -> None:
    args = parse_args()
    dictionary = args.model / "dict.txt"
    try:
        tokenizer = PieceTokenizer(args.model / "tokenizer.json")
        known = {line.rpartition(" ")[0] for line in decoded(dictionary)}
        tokenizer.require_known(known, dictionary)
    except errors.UserError as error:
        raise UserError(str(error)) from None
    for path in args.texts:
        pieces = (tokenizer.pieces(line) for line in decoded(path))
        write(args.out / path.name, join_lines(" ".join(p.name for p in line) for line in pieces))


if __name__ == "__main__":
    sys.exit(report_errors(main))
