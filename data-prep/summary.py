"""Count the contents of a corpus: a table on the screen, and FOLDER/summary.json.

    python data-prep/summary.py runs/data/multi30k.en-de

Words are those that white space separates in raw/; subwords are those of bpe/; the dictionary is
that of bin/, with fairseq's own symbols.
"""

import argparse
import json
import sys
from pathlib import Path

from stages import Parser, UserError, report_errors, write

LONG = 40  # source words
SPECIAL = 4  # symbols that fairseq adds to those in dict.txt: <s> <pad> </s> <unk>


def word_counts(path: Path) -> list[int]:
    """Return the number of words of each line; only "\\n" ends a line."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [len(line.split()) for line in file]


def count_split(out: Path, split: str, languages: list[str]) -> dict:
    words = word_counts(out / "raw" / f"{split}.{languages[0]}")
    return {
        "pairs": len(words),
        "source_words": round(sum(words) / max(1, len(words)), 1),
        "long_pairs": sum(count >= LONG for count in words),
        "subwords": {
            language: sum(word_counts(out / "bpe" / f"{split}.{language}"))
            for language in languages
        },
    }


def count_joined(out: Path, languages: list[str]) -> dict:
    """Count the joined pairs, which replace train's; their words have no raw text to count."""
    counts = [word_counts(out / "joined" / f"train.{language}") for language in languages]
    return {
        "pairs": len(counts[0]),
        "subwords": {name: sum(count) for name, count in zip(languages, counts, strict=True)},
    }


def summarise(out: Path) -> dict:
    try:
        corpus = json.loads((out / "corpus.json").read_bytes())
        languages = [corpus["source"], corpus["target"]]
        splits = ["train", "valid", *corpus["tests"]]
    except (ValueError, KeyError):
        raise UserError(f"{out}/corpus.json is damaged: delete it and prepare again") from None
    counts = {split: count_split(out, split, languages) for split in splits}
    if corpus.get("joined"):
        counts["joined"] = count_joined(out, languages)
    words = [len(word_counts(out / "bin" / f"dict.{language}.txt")) for language in languages]
    return {
        "corpus": corpus["corpus"],
        "dictionary": dict(zip(languages, (count + SPECIAL for count in words), strict=True)),
        "splits": counts,
    }


def table(found: dict) -> str:
    source, target = found["dictionary"]
    names = ["", "pairs", f"{source} words", f">= {LONG} words"]
    rows = [[*names, f"{source} subwords", f"{target} subwords"]]
    for split, counts in found["splits"].items():
        subwords = [f"{number:,}" for number in counts["subwords"].values()]
        known = ["", ""]
        if "source_words" in counts:
            known = [f"{counts['source_words']:.1f}", f"{counts['long_pairs']:,}"]
        rows.append([split, f"{counts['pairs']:,}", *known, *subwords])
    lines = [f"{row[0]:10}" + "".join(f"{cell:>14}" for cell in row[1:]) for row in rows]
    sizes = ", ".join(f"{name} {size:,}" for name, size in found["dictionary"].items())
    return "\n".join([*lines, f"dictionary: {sizes} symbols"])


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the corpus")
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    found = summarise(args.folder)
    write(args.folder / "summary.json", (json.dumps(found, indent=1) + "\n").encode())
    print(table(found))


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
