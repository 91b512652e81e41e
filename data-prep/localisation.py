"""Read a parallel corpus out of the interface translations of Home Assistant.

    python data-prep/localisation.py WHEEL OUT --source en --target de

The ``homeassistant`` wheel (Apache-2.0) carries its interface in about seventy languages, one JSON
file for each component and language: texts under the same key in two languages are a pair.  The
wheel is read in place; its members are never extracted.  Pairs are cleaned, filtered, deduplicated
and split into OUT/{train,valid,test}.LANGUAGE.  The same wheel and options give the same bytes.
"""

import argparse
import hashlib
import json
import re
import statistics
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from stages import Parser, UserError, join_lines, report_errors, within, write
from zips import opened_zip, read_member

# homeassistant/components/COMPONENT/translations/[PLATFORM.]LANGUAGE.json
MEMBER = re.compile(r"homeassistant/components/([^/]+)/translations/(?:(\w+)\.)?([\w-]+)\.json")
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
INVISIBLE = "\u00ad\u200b\u2060\ufeff"  # soft hyphen, zero-width space, word joiner, BOM

Pair = tuple[str, str]
KeyPath = tuple[str, ...]


def walk(node: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield each text in nested JSON objects with the path of keys that leads to it."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, (*path, key))
    elif isinstance(node, str):
        yield path, node


def read_texts(wheel: Path, languages: Pair) -> list[dict[KeyPath, str]]:
    """Read the texts of each language, by key path, straight out of the archive."""
    name, found = "", {}
    try:
        with opened_zip(wheel) as archive:
            for name in archive.namelist():
                if match := MEMBER.fullmatch(name):
                    component, platform, language = match.groups(default="")
                    texts = found.setdefault(language, {})
                    if language in languages:
                        content = json.loads(read_member(archive, name))
                        texts.update(walk(content, (component, platform)))
    except ValueError as error:
        raise UserError(f"{wheel}: {name} is not JSON ({error}): get another wheel") from None
    for language in languages:
        if language not in found:
            known = " ".join(sorted(found)) or "none"
            raise UserError(f"no language {language!r} in {wheel}: choose from {known}")
    return [found[language] for language in languages]


def clean(text: str) -> str:
    """Return one line of NFC text, white space folded, control and invisible characters removed.

    U+2581 becomes a space as well, because sentencepiece writes a space this way.
    """
    text = unicodedata.normalize("NFC", text).replace("\u2581", " ")
    kept = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join("".join(c for c in kept if c not in INVISIBLE).split())


def gist(text: str) -> str:
    """Return a sentence without case and punctuation, with 0 for each number or placeholder.

    Sentences with the same gist are trivial variants of each other.
    """
    text = re.sub(r"\d+", " 0 ", PLACEHOLDER.sub(" 0 ", text.casefold()))
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def filter_pairs(
    counts: Counter[Pair], args: argparse.Namespace
) -> tuple[list[Pair], dict[str, int]]:
    """Drop pairs that would not teach translation, and count those that each rule drops."""
    pairs, low, high, ratio = sorted(counts), args.min_words, args.max_words, args.max_ratio
    report = {"repeated": counts.total() - len(pairs)}

    def drop(rule: str, bad: Callable[[str, str], bool]) -> None:
        kept = [pair for pair in pairs if not bad(*pair)]
        report[rule] = len(pairs) - len(kept)
        pairs[:] = kept

    def blanks(text: str) -> set[str]:
        return set(PLACEHOLDER.findall(text))

    drop("empty", lambda s, t: not (s and t))
    drop("untranslated", lambda s, t: s.casefold() == t.casefold())
    drop("placeholders differ", lambda s, t: blanks(s) != blanks(t))
    drop(f"source under {low} words", lambda s, t: len(s.split()) < low)
    drop(f"a side over {high} words", lambda s, t: max(len(s.split()), len(t.split())) > high)
    # Scripts differ in how much a character says: measure against the usual ratio of this pair.
    usual = statistics.median(len(t) / len(s) for s, t in pairs) if pairs else 1.0
    drop("lengths differ", lambda s, t: not 1 / ratio <= len(t) / len(s) / usual <= ratio)
    # Of several translations of one source, keep the most frequent, or the first in a tie.
    best: dict[str, str] = {}
    for source, target in sorted(pairs, key=lambda pair: (-counts[pair], pair)):
        best.setdefault(source, target)
    drop("a commoner translation exists", lambda s, t: best[s] != t)
    return pairs, report


def split_pairs(pairs: list[Pair], valid: int, test: int) -> tuple[dict[str, list[Pair]], int]:
    """Split so that no two splits share a sentence, or a trivial variant of one, on either side.

    Pairs whose sources have the same gist form a group, and groups stay whole.  They are ordered by
    the sha256 of the gist: a shuffle that is the same everywhere.  The first groups whose targets
    occur in no other group are held out.  Each of them gives one pair, so that no sentence is
    tested in several variants; the second value returned is the number of pairs this leaves out.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(gist(pair[0]), []).append(pair)
    targets = {key: {gist(target) for _, target in group} for key, group in groups.items()}
    uses = Counter(target for group in targets.values() for target in group)
    order = sorted(groups, key=lambda key: hashlib.sha256(key.encode()).digest())
    alone = [key for key in order if all(uses[target] == 1 for target in targets[key])]
    if len(alone) < valid + test or len(groups) == valid + test:
        raise UserError(
            f"--test {test} --valid {valid} leave nothing to train on: {len(alone)} of "
            f"{len(groups)} distinct sentences can be held out: lower them or change language"
        )
    held = {"test": alone[:test], "valid": alone[test : test + valid]}
    parts = {name: [groups[key][0] for key in keys] for name, keys in held.items()}
    out = set(alone[: test + valid])
    parts["train"] = [pair for key in order if key not in out for pair in groups[key]]
    return parts, len(pairs) - sum(map(len, parts.values()))


def make_corpus(args: argparse.Namespace) -> None:
    """Write the splits, and print how many pairs each rule dropped."""
    sources, targets = read_texts(args.wheel, (args.source, args.target))
    keys = [key for key in sources if key in targets]
    counts = Counter((clean(sources[key]), clean(targets[key])) for key in keys)
    pairs, dropped = filter_pairs(counts, args)
    parts, dropped["variants of a held-out source"] = split_pairs(pairs, args.valid, args.test)
    print(f"{len(keys):8,}  pairs found under one key")
    for rule, count in dropped.items():
        print(f"{-count:8,}  {rule}")
    for name, part in parts.items():
        print(f"{len(part):8,}  pairs in {name}")
        for side, language in enumerate((args.source, args.target)):
            write(args.out / f"{name}.{language}", join_lines(pair[side] for pair in part))


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    add, whole = parser.add_argument, within(int, 1, 1_000_000)
    add("wheel", type=Path, metavar="WHEEL", help="the wheel of homeassistant")
    add("out", type=Path, metavar="OUT", help="folder to write to")
    add("--source", default="en", help="source language (%(default)s)")
    add("--target", default="de", help="target language (%(default)s)")
    least = "fewest words of a source; 1 for a script without spaces (%(default)s)"
    add("--min-words", type=whole, default=3, help=least)
    add("--max-words", type=whole, default=100, help="most words on either side (%(default)s)")
    ratio = "drop pairs whose length ratio is off the median by more than this factor (%(default)s)"
    add("--max-ratio", type=within(float, 1, 1000), default=3.0, help=ratio)
    add("--valid", type=whole, default=500, help="pairs in the valid split (%(default)s)")
    add("--test", type=whole, default=500, help="pairs in the test split (%(default)s)")
    args = parser.parse_args()
    if args.source == args.target:
        parser.error(f"--source and --target are both {args.source!r}: choose two languages")
    if args.min_words > args.max_words:
        parser.error(
            f"--min-words {args.min_words} is over --max-words {args.max_words}: lower the "
            "first or raise the second"
        )
    return args


if __name__ == "__main__":
    sys.exit(report_errors(lambda: make_corpus(parse_args())))
