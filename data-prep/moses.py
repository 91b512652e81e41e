"""Prepare text as the Moses scripts do: a filter from standard input to standard output.

    python data-prep/moses.py --language de lowercase normalise tokenise <TEXT >TOKENS

The steps are applied in the order they are named:

lowercase             lowercase.perl
normalise             normalize-punctuation.perl -l LANGUAGE
remove-non-printing   remove-non-printing-char.perl
tokenise              tokenizer.perl -l LANGUAGE
tokenise-aggressive   tokenizer.perl -a -l LANGUAGE

This is built on sacremoses, whose tokenizer follows an older Moses, with the later changes added
below.  The output is that of Moses's Perl (master, 2025), with two exceptions: text that contains
Moses's own placeholder DOTMULTI, and letters whose Unicode properties differ between `regex` and
that Perl.

Only "\\n" ends a line; a line that is not UTF-8 is an error.
"""

import argparse
import functools
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import BinaryIO

import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from stages import Parser, decode, report_errors, within

LANGUAGES = ("cs", "de", "en", "es", "fr")  # others have rules that sacremoses lacks
# Abbreviations with a space after them in Moses's list, which Perl therefore does not recognise.
NEVER_FOUND = {"es": ("Fil", "gr")}
CHUNK = 2000  # lines that a worker takes at a time

Step = Callable[[str], str]
Rule = tuple[re.Pattern, str]


def with_properties(rule: Rule) -> Rule:
    """Replace sacremoses's old tables of characters by the Unicode properties they stand for."""
    pattern, replacement = rule
    text = pattern.pattern
    text = text.replace(MosesTokenizer.IsAlnum, r"\p{Alphabetic}\p{Nd}")
    text = text.replace(MosesTokenizer.IsAlpha, r"\p{Alphabetic}")
    text = text.replace(MosesTokenizer.IsN, r"\p{N}")
    return regex.compile(text), replacement


class Tokeniser(MosesTokenizer):
    """sacremoses's tokenizer, with the character classes and full stops of the current Moses."""

    DEDUPLICATE_SPACE = regex.compile(r"\s+"), " "  # re's \s also matches U+001C to U+001F
    PAD_NOT_ISALNUM = with_properties(MosesTokenizer.PAD_NOT_ISALNUM)
    AGGRESSIVE_HYPHEN_SPLIT = with_properties(MosesTokenizer.AGGRESSIVE_HYPHEN_SPLIT)
    COMMA_SEPARATE_1 = with_properties(MosesTokenizer.COMMA_SEPARATE_1)
    COMMA_SEPARATE_2 = with_properties(MosesTokenizer.COMMA_SEPARATE_2)
    COMMA_SEPARATE_3 = with_properties(MosesTokenizer.COMMA_SEPARATE_3)
    ENGLISH_SPECIFIC_APOSTROPHE = [
        *map(with_properties, MosesTokenizer.ENGLISH_SPECIFIC_APOSTROPHE)
    ]
    FR_IT_SPECIFIC_APOSTROPHE = [*map(with_properties, MosesTokenizer.FR_IT_SPECIFIC_APOSTROPHE)]

    BLANK = regex.compile(r"\s*")
    LETTER = regex.compile(r"\p{Alphabetic}")
    SMALL_LETTER = regex.compile(r"\p{Lowercase}")
    DIGIT = regex.compile(r"[0-9]")

    def __init__(self, language: str, aggressive: bool) -> None:
        super().__init__(language)
        self.aggressive = aggressive
        # Abbreviations, each with True if it counts as one only before digits.
        entries = (entry.partition(" #NUMERIC_ONLY#") for entry in self.NONBREAKING_PREFIXES)
        self.abbreviations = {name: bool(mark) for name, mark, _ in entries}
        for name in NEVER_FOUND.get(language, ()):
            del self.abbreviations[name]

    def handles_nonbreaking_prefixes(self, text: str) -> str:
        """Split full stops off words: off the last always, off others unless abbreviations."""
        words = text.split()
        for i, word in enumerate(words):
            body, last = word.removesuffix("."), i == len(words) - 1
            if body and body != word and (last or not self.keeps(body, words[i + 1])):
                words[i] = body + " ."
        return " ".join(words)

    def keeps(self, body: str, following: str) -> bool:
        """True if a word keeps its full stop before the following word."""
        if "." in body and self.LETTER.search(body) or self.SMALL_LETTER.match(following):
            return True
        numeric = self.abbreviations.get(body)
        return numeric is False or numeric is True and bool(self.DIGIT.match(following))

    def __call__(self, line: str) -> str:
        if self.BLANK.fullmatch(line):
            return line
        return self.tokenize(line, aggressive_dash_splits=self.aggressive, return_str=True)


class Normaliser(MosesPunctNormalizer):
    """sacremoses's normaliser, seeing lines as Perl does: as bytes, and with their "\\n"."""

    def __init__(self, language: str) -> None:
        super().__init__(language, perl_parity=True)
        self.rules = [(re.compile(rule, re.ASCII), new) for rule, new in self.substitutions]

    def __call__(self, line: str) -> str:
        line += "\n"  # a quotation mark moves before a full stop only if something follows
        for rule, replacement in self.rules:
            line = rule.sub(replacement, line)
        return line.removesuffix("\n")


def lowercase(line: str) -> str:
    """Lower-case each character by itself, since Perl has no rule for the final sigma."""
    return line.replace("Σ", "σ").lower()


STEPS: dict[str, Callable[[str], Step]] = {
    "lowercase": lambda language: lowercase,
    "normalise": Normaliser,
    "remove-non-printing": lambda language: functools.partial(regex.compile(r"\p{C}").sub, " "),
    "tokenise": functools.partial(Tokeniser, aggressive=False),
    "tokenise-aggressive": functools.partial(Tokeniser, aggressive=True),
}


@functools.cache
def make_steps(language: str, names: tuple[str, ...]) -> list[Step]:
    return [STEPS[name](language) for name in names]


def apply_steps(language: str, names: tuple[str, ...], first: int, lines: list[bytes]) -> bytes:
    """Apply the steps to lines of UTF-8; ``first`` is the number of the first in the input."""
    steps, done = make_steps(language, names), []
    for number, raw in enumerate(lines, first):
        line = decode(raw, "standard input", number).removesuffix("\n")
        for step in steps:
            line = step(line)
        done.append(line + "\n")
    return "".join(done).encode()


def chunks(source: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Cut a file into lists of lines, each with the number of its first line."""
    first = 1
    while lines := list(islice(source, CHUNK)):
        yield first, lines
        first += len(lines)


def run(source: BinaryIO, sink: BinaryIO, args: argparse.Namespace) -> None:
    """Filter all lines in order, with only a few chunks in memory at a time."""
    work = functools.partial(apply_steps, args.language, tuple(args.steps))
    if args.workers == 1:
        for chunk in chunks(source):
            sink.write(work(*chunk))
        return
    pending: deque[Future[bytes]] = deque()
    with ProcessPoolExecutor(args.workers) as pool:
        for chunk in chunks(source):
            pending.append(pool.submit(work, *chunk))
            if len(pending) > 2 * args.workers:
                sink.write(pending.popleft().result())
        while pending:
            sink.write(pending.popleft().result())


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--language", choices=LANGUAGES, required=True, help="of the text")
    workers = within(int, 1, 1000)
    parser.add_argument("--workers", type=workers, default=1, help="processes (%(default)s)")
    parser.add_argument("steps", nargs="+", choices=STEPS, help="applied in order", metavar="STEP")
    return parser.parse_args()


if __name__ == "__main__":
    main = functools.partial(run, sys.stdin.buffer, sys.stdout.buffer)
    sys.exit(report_errors(lambda: main(parse_args())))
