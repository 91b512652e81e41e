"""Archives with the layout of those of IWSLT14 and WMT14, and with a little unruly text.

The text is the same at every run. tests/published.sha256 has the checksums of what fairseq's
scripts (main branch of 2024) make of these archives: prepare-iwslt14.sh, prepare-wmt14en2de.sh
without and with --icml17, prepare-wmt14en2fr.sh. They were run in empty folders, and changed only
to find the archives, Moses's scripts (mosesdecoder's master of February 2025, Perl 5.36) and
subword-nmt 0.3.8 on that machine. The names in that file are FOLDER/FILE, with "code" for the
merges.
"""

import gzip
import hashlib
import io
import random
import tarfile
from html import escape
from pathlib import Path

from corpora import run
from places import TESTS

WORDS = {
    "de": "der Die das Haus Häuser Straße GRÖSSE Übung geht's z.B. d.h. Nr. St.-Petersburg usw. "
    "Ängste läuft schnell und nicht aber Dr. 3. Mai Donaudampfschiff Haus-Tür-Schlüssel",
    "en": "the The it's don't I'm Jones' 1990's O'Brien can't U.S. e.g. Mr. No. 5 well-known and "
    "house houses street running quickly but not state-of-the-art Art. 7",
    "fr": "l'homme La aujourd'hui d'accord C'est qu'il M. Mme. etc. œuvre ÉTÉ maison maisons rue "
    "vite et pas là-bas peut-être n° 12 nº 3",
}
ODD = (
    "„ “ ” ‚ ‘ ’ « » – — … ' \" `` '' , . ; : ? ! ( ) [ ] { } < > | & % $ € @ # * / - -- ... .. "
    '." .\' ," ", &amp; &quot; <b> </b> 1,000.5 1.000,50 12:30 50% ½ Ⅷ ١٢ 日本語 漢字。 '
    "ΣΑΣ Москва हिन्दी İstanbul ẞ ǅ e\u0301 👍 \u200b \ufeff \x07 \x7f \xad"
).split(" ")
SPACES = [*(" " * 30), "  ", "\t", "\u00a0", "\u2009", "\u2028", "\x85", "\x0b", "\r", "\x1c", ""]


class Writer:
    """Makes up lines, using only functions that are the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def choose(self, values):
        return values[int(self.random() * len(values))]

    def line(self, language: str, words: int) -> str:
        known = WORDS[language].split()
        line = ""
        for _ in range(words):
            line += self.choose(known if self.random() < 0.8 else ODD) + self.choose(SPACES)
        return line + self.choose(["", "", ".", " .", '."', "!", ".'", "..."])

    def pair(self, languages: list[str]) -> list[str]:
        """Make a pair, mostly alike in length; some are empty, unequal, overlong or a long word."""
        kind, words = self.random(), 1 + int(self.random() * 12)
        if kind < 0.03:
            return [self.choose(["", " ", "\u00a0"]), self.line(languages[1], words)]
        if kind < 0.06:
            return [self.line(languages[0], words), self.line(languages[1], 2 * words + 1)]
        if kind < 0.07:
            return [self.line(language, 160) for language in languages]
        if kind < 0.08:
            return ["x" * self.choose([1000, 1001]) for _ in languages]
        return [self.line(language, words) for language in languages]

    def pairs(self, languages: list[str], number: int) -> list[tuple[str, ...]]:
        """Return one tuple of lines for each language."""
        return list(zip(*(self.pair(languages) for _ in range(number))))


def join(lines) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as writer:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            writer.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def segments(lines, language: str) -> bytes:
    """Return the lines as segments of a test set, in the various ways that these are written."""
    text = [f'<?xml version="1.0"?><doc docid="1" lang="{language}">', "<title> Ein Titel </title>"]
    for i, line in enumerate(lines, 1):
        if not line.strip():
            line = ""  # a line of white space is left as it is, even if a carriage return
        space = " " * (i % 3)
        text.append(f'{space}<seg id="{i}">{space}{line}{space}</seg>{space}')
    return join([*text, "</doc>"])


def iwslt14_members() -> dict[str, bytes]:
    writer, languages, members = Writer(14), ["de", "en"], {}
    for language, lines in zip(languages, writer.pairs(languages, 700)):
        about = ["url>http://x.org/1</url", "keywords>talks, x</keywords", "talkid>1</talkid"]
        tags = [f"<{tag}>" for tag in about]
        tags += [
            f"<title>{escape(lines[0])}</title>",
            f"<description>TED: {lines[1]}</description>",
        ]
        tags += ["<reviewer></reviewer>", "<translator href='x'>A. Müller</translator>"]
        text = join([*tags, *lines[:400], *tags, *lines[400:]])
        members[f"de-en/train.tags.de-en.{language}"] = text
    for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
        for language, lines in zip(languages, writer.pairs(languages, 12)):
            members[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = segments(lines, language)
    return members


def wmt14_members() -> dict[str, dict[str, bytes]]:
    """Return the members of every archive, by the archive's address."""
    writer, archives = Writer(15), {}

    def corpus(archive: str, member: str, numbers: dict[str, int], pack=lambda text: text) -> None:
        members = archives.setdefault(archive, {})
        for target, number in numbers.items():
            languages = [target, "en"]
            for language, lines in zip(languages, writer.pairs(languages, number)):
                name = f"{member.format(target)}.{language}"
                members[name + (".gz" if pack is gzip.compress else "")] = pack(join(lines))

    both, french, wmt13 = {"de": 180, "fr": 500}, {"fr": 500}, "www.statmt.org/wmt13"
    corpus(f"{wmt13}/training-parallel-europarl-v7.tgz", "training/europarl-v7.{}-en", both)
    corpus(f"{wmt13}/training-parallel-commoncrawl.tgz", "commoncrawl.{}-en", both)
    nc12 = "data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz"
    corpus(nc12, "training/news-commentary-v12.{}-en", {"de": 180})
    nc9 = "www.statmt.org/wmt14/training-parallel-nc-v9.tgz"
    corpus(nc9, "training/news-commentary-v9.{}-en", both)
    corpus(f"{wmt13}/training-parallel-un.tgz", "un/undoc.2000.{}-en", french)
    giga = "www.statmt.org/wmt10/training-giga-fren.tar"
    corpus(giga, "giga-{}en.release2.fixed", french, gzip.compress)
    tests = archives.setdefault("www.statmt.org/wmt14/test-full.tgz", {})
    for target in both:
        source, reference = writer.pairs(["en", target], 30)
        name = f"test-full/newstest2014-{target}en"
        tests[f"{name}-src.en.sgm"] = segments(source, "en")
        tests[f"{name}-ref.{target}.sgm"] = segments(reference, target)
    return archives


def iwslt14() -> dict[str, bytes]:
    return {"dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz": tar(iwslt14_members())}


def wmt14() -> dict[str, bytes]:
    """Return every archive, by its address."""
    return {
        name: tar(members, "w" if name.endswith(".tar") else "w:gz")
        for name, members in wmt14_members().items()
    }


# Stands in for fairseq-preprocess, which takes longer than all the rest: makes dictionaries only.
STAND_IN = """
import argparse, pathlib
from collections import Counter

parser = argparse.ArgumentParser()
for name in ("source-lang", "target-lang", "trainpref", "destdir"):
    parser.add_argument(f"--{name}")
args, _ = parser.parse_known_args()
languages, folder = (args.source_lang, args.target_lang), pathlib.Path(args.destdir)
texts = [pathlib.Path(f"{args.trainpref}.{name}").read_text("utf-8") for name in languages]
words = Counter(" ".join(texts).split())
folder.mkdir()
for name in languages:
    text = "".join(f"{word} {count}\\n" for word, count in words.items())
    (folder / f"dict.{name}.txt").write_text(text, "utf-8")
"""
BASH = """
source "{forks}"
fairseq-preprocess() {{ command python "{stand_in}" "$@"; }}
"""


class Published:
    """Archives on a web server, and the script that prepares them."""

    def __init__(self, script: str, archives: dict[str, bytes], site, folder: Path) -> None:
        self.script, self.site = script, site
        self.out, self.sums = folder / "data" / "corpus", folder / "sums"
        stand_in, self.bash = folder / "preprocess.py", folder / "bash"
        stand_in.write_text(STAND_IN)
        self.bash.write_text(BASH.format(forks=TESTS / "fork_programs.sh", stand_in=stand_in))
        self.archives = {}
        self.publish(archives)

    def publish(self, archives: dict[str, bytes]) -> None:
        """Put archives on the server, and their checksums into a list."""
        self.archives |= archives
        self.site.files |= {f"/{name}": content for name, content in archives.items()}
        sums = {name: hashlib.sha256(text).hexdigest() for name, text in self.archives.items()}
        self.sums.write_text("".join(f"{hexa}  {name}\n" for name, hexa in sums.items()))

    def run(self, *options, binarise: bool = False):
        """Run the script, with fairseq-preprocess if ``binarise``, or else with its stand-in."""
        variables = {"DATA_MIRROR": self.site.address}
        if not binarise:
            variables["BASH_ENV"] = self.bash
        common = ["--out", self.out, "--checksums", self.sums, "--workers", 1]
        return run(self.script, *common, *options, **variables)

    def read(self, name: str) -> list[str]:
        """Return the lines of a file."""
        return (self.out / name).read_bytes().decode().removesuffix("\n").split("\n")


def wanted(folder: str) -> dict[str, str]:
    """Return the sha256 of each file that fairseq's script made, by the name of ours."""
    found = {}
    for line in Path(__file__).with_suffix(".sha256").read_text().splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{folder}/"):
            file = name.removeprefix(f"{folder}/")
            found["bpe.model" if file == "code" else f"bpe/{file}"] = digest
    return found
