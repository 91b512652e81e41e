"""Turn published English text into plain text for a masked language model.

    python data-prep/plain.py wikitext wikitext-103-raw-v1.zip --out raw
    python data-prep/plain.py brown brown.zip --out raw

writes raw/{train,valid,test}.txt.  The lines are the paragraphs of WikiText, without titles, or the
sentences of the Brown corpus, without tags.  Of every ten documents of the Brown corpus, the ninth
goes to the validation set and the tenth to the test set.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

from sacremoses import MosesDetokenizer
from stages import Parser, UserError, decode, join_lines, report_errors, write
from zips import opened_zip, read_member

SPLITS = ("train", "valid", "test")
QUOTES = {"``": '"', "''": '"'}


def lines(zipped: ZipFile, name: str) -> Iterator[str]:
    """Yield the lines of a file that are not empty, stripped of surrounding white space."""
    for number, line in enumerate(read_member(zipped, name).split(b"\n"), 1):
        if text := decode(line, name, number).strip():
            yield text


def of_wikitext(zipped: ZipFile) -> dict[str, list[str]]:
    """Return the lines by split, from wiki.train.raw and so on; @-@ in a word becomes a hyphen."""
    found = {}
    for split in SPLITS:
        name = next(
            (n for n in zipped.namelist() if n.endswith(f"wiki.{split}.raw")), f"{split}.raw"
        )
        paragraphs = (line for line in lines(zipped, name) if not re.fullmatch("=.*=", line))
        found[split] = [re.sub(" @([-,.])@ ", r"\1", line) for line in paragraphs]
    return found


def of_brown(zipped: ZipFile) -> dict[str, list[str]]:
    """Return the lines by split, from documents whose words are followed by their tags."""
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    joined = MosesDetokenizer(lang="en")
    names = sorted(name for name in zipped.namelist() if re.search(r"/c[a-r]\d\d$", name))
    for number, name in enumerate(names):
        split = SPLITS[max(0, number % 10 - 7)]
        for line in lines(zipped, name):
            words = [token.rpartition("/")[0] for token in line.split()]
            found[split].append(joined.detokenize([QUOTES.get(word, word) for word in words]))
    return found


CORPORA = {"wikitext": of_wikitext, "brown": of_brown}


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("archive", type=Path, help="the published zip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with opened_zip(args.archive) as zipped:
        found = CORPORA[args.corpus](zipped)
    for split, text in found.items():
        if not text:
            raise UserError(f"{args.archive} has no text for {split}: get it from its publisher")
        write(args.out / f"{split}.txt", join_lines(text))
        print(f"{split}: {len(text):,} lines, {sum(len(line.split()) for line in text):,} words")


if __name__ == "__main__":
    sys.exit(report_errors(main))
