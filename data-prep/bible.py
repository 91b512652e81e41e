"""Make a parallel corpus from two Bibles: SWORD modules, paired by verse and split by book.

    python data-prep/bible.py en=ENGLISH/usr/share/sword es=SPANISH/usr/share/sword raw
    python data-prep/bible.py ... --verses 4 --separator "<s/>"     documents: runs of verses

Writes raw/{train,valid,test}.{en,es}, and raw/*.verse with the book, chapter and verse of every
line.  raw/single.* has the verses of train whose books are not in TWINS.
Verses that one side lacks are left out, and so are those in OTHERWISE.  A document is a run of
consecutive verses of one chapter, at most as many as --verses, with the separator between them.
"""

import argparse
import functools
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from pysword.bible import SwordBible
from pysword.modules import SwordModules
from stages import Parser, UserError, join_lines, report_errors, write

Verse = tuple[str, int, int]  # book, chapter, verse

# Held-out books: from both testaments, and none with much in common with a training book (unlike
# Kings and Chronicles, or the first three gospels). Those of the test are rich in long verses.
BOOKS = {
    "valid": ("Ruth", "Zechariah", "Malachi", "Philippians", "I Peter"),
    "test": ("Esther", "Ezekiel", "Daniel", "James"),
}

# Training books of which other books retell a good part. (Others, such as Jeremiah, share single
# passages; but no remaining long verse has half of its eight-word runs in training verses.)
TWINS = (
    *("I Samuel", "II Samuel", "I Kings", "II Kings", "I Chronicles", "II Chronicles"),
    *("Ezra", "Nehemiah", "Isaiah", "Matthew", "Mark", "Luke"),
)

# Where the Reina-Valera numbers its verses differently from the English Bible: by chapter, the
# first and the last verse number that do not stand for the same text.
OTHERWISE = {
    ("Numbers", 13): (1, 33),
    ("Numbers", 30): (1, 16),
    ("Judges", 14): (18, 20),
    ("I Samuel", 24): (1, 22),
    ("II Samuel", 2): (31, 32),
    ("II Samuel", 20): (25, 26),
    ("I Kings", 18): (33, 34),
    ("I Kings", 22): (43, 53),
    ("I Chronicles", 1): (30, 32),
    ("I Chronicles", 2): (34, 35),
    ("I Chronicles", 21): (15, 30),
    ("II Chronicles", 33): (10, 25),
    ("Job", 35): (15, 16),
    ("Job", 39): (1, 30),
    ("Job", 40): (1, 24),
    ("Hosea", 12): (1, 14),
    ("Jonah", 2): (1, 10),
    ("Acts", 19): (40, 41),
    ("Romans", 14): (23, 23),
    ("II Corinthians", 13): (12, 14),
}

# OSIS, the markup of the modules. A footnote or an added word may stand in for the space beside it.
# An added pronoun does not: Spanish writes it as one word with its verb.
AFTERWORD = re.compile(r"<chapter eID.*", re.DOTALL)  # such as a glossary after the last chapter
SPEAKER = re.compile(r"<speaker\b.*?</speaker>", re.DOTALL)  # a heading
NOTE = re.compile(r"<note\b.*?</note>", re.DOTALL)
MARK = "\0"  # where a footnote was
MARK_AS_SPACE = re.compile(rf"(?<=[^\s(“‘—{MARK}]){MARK}+(?=[\w“‘(])")
ADDED_AS_SPACE = re.compile(
    r"(?<=\w)<transChange[^>]*>(?=\w)(?!(?:l[aeo]s?|[mts]e|n?os)<)|(?<=\w)</transChange>(?=\w)"
)
ADDED = re.compile(r"</?transChange\b[^>]*>")
OTHER_TAG = re.compile(r"<(?!/?transChange\b)[^>]*>")


def clean(text: str) -> str:
    """Return the words of an OSIS verse in NFC, without markup, headings, notes or extra spaces."""
    text = NOTE.sub(MARK, SPEAKER.sub("", AFTERWORD.sub("", text)))
    text = MARK_AS_SPACE.sub(" ", OTHER_TAG.sub("", text)).replace(MARK, "")
    text = ADDED.sub("", ADDED_AS_SPACE.sub(" ", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def open_bible(folder: Path) -> SwordBible:
    """Open the only module in a SWORD folder, which is the folder with mods.d and modules."""
    modules = SwordModules(str(folder))
    names = list(modules.parse_modules())
    if len(names) != 1:
        raise UserError(f"{folder} has {len(names)} modules, not 1: name another folder")
    try:
        bible = modules.get_bible_from_module(names[0])
        if hasattr(bible, "_decompressed_text"):  # else a book is decompressed for each verse
            bible._decompressed_text = functools.lru_cache(2)(bible._decompressed_text)
        return bible
    except (KeyError, OSError, ValueError) as error:
        raise UserError(f"module {names[0]} in {folder}: {error}: unpack it again") from None


def read_verses(bible: SwordBible) -> Iterator[tuple[Verse, str]]:
    """Yield every verse that is not empty, in the order of the Bible."""
    for books in bible.get_structure().get_books().values():
        for book in books:
            for chapter, length in enumerate(book.chapter_lengths, 1):
                for verse in range(1, length + 1):
                    text = bible.get(book.name, chapter, verse, clean=False)
                    if text := clean(text):
                        yield (book.name, chapter, verse), text


def counted_alike(verse: Verse) -> bool:
    first, last = OTHERWISE.get(verse[:2], (1, 0))
    return not first <= verse[2] <= last


def split_of(verse: Verse) -> str:
    return next((split for split, books in BOOKS.items() if verse[0] in books), "train")


def is_in(split: str, verse: Verse) -> bool:
    if split == "single":
        return split_of(verse) == "train" and verse[0] not in TWINS
    return split_of(verse) == split


def runs_of(verses: list[Verse], longest: int) -> Iterator[list[Verse]]:
    """Cut rising verses into runs without gaps, each in one chapter and of at most ``longest``."""
    run: list[Verse] = []
    for verse in verses:
        follows = run and verse == (*run[-1][:2], run[-1][2] + 1)
        if run and not (follows and len(run) < longest):
            yield run
            run = []
        run.append(verse)
    if run:
        yield run


def name_of(run: list[Verse]) -> str:
    book, chapter, verse = run[0]
    return f"{book} {chapter}:{verse}" + (f"-{run[-1][2]}" if len(run) > 1 else "")


def make_corpus(
    folders: dict[str, Path], out: Path, longest: int = 1, separator: str = ""
) -> dict[str, int]:
    """Write the splits, and return the number of pairs in each."""
    sides = {language: dict(read_verses(open_bible(path))) for language, path in folders.items()}
    first, second = sides.values()
    verses = [verse for verse in first if verse in second and counted_alike(verse)]
    counts = {}
    for split in ("train", *BOOKS, "single"):
        chosen = [verse for verse in verses if is_in(split, verse)]
        if not chosen and split != "single":
            books = " ".join(BOOKS.get(split, ["all others"]))
            raise UserError(f"no pairs for {split} ({books}): the modules lack them, get others")
        runs = list(runs_of(chosen, longest))
        for language, texts in sides.items():
            lines = (f" {separator} ".join(texts[verse] for verse in run) for run in runs)
            write(out / f"{split}.{language}", join_lines(lines))
        write(out / f"{split}.verse", join_lines(map(name_of, runs)))
        counts[split] = len(runs)
    return counts


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    for name in ("first", "second"):
        parser.add_argument(name, metavar="LANGUAGE=FOLDER", help="a folder with a SWORD module")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--verses", type=int, default=1, help="most verses of a document")
    parser.add_argument("--separator", default="", help="between the verses of a document")
    args = parser.parse_args()
    pairs = [text.partition("=") for text in (args.first, args.second)]
    args.folders = {language: Path(folder) for language, _, folder in pairs}
    if len(args.folders) != 2 or not all(folder for _, _, folder in pairs):
        parser.error(f"{args.first} {args.second} are not two arguments LANGUAGE=FOLDER")
    return args


def run(args: argparse.Namespace) -> None:
    corpus = make_corpus(args.folders, args.out, args.verses, args.separator)
    for split, count in corpus.items():
        print(f"{split}: {count:,} pairs")


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
