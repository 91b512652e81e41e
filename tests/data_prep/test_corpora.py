"""Whole preparations of Multi30k and the Bible, from small archives laid out like the real ones."""

import gzip
import hashlib
import json
import random
import re

import bible
import pytest
from corpora import fails, run, succeeds, tree
from places import PREP
from sword import package

pytest_plugins = ["corpora"]

PLACE = "raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
PUBLISHED = {"train": 60, "val": 9, "test_2016_flickr": 8, "test_2017_flickr": 7}
SPLITS = {"train": 60, "valid": 9, "test2016": 8, "test2017": 7}
NOUNS = {"dog": "Hund", "girl": "Mädchen", "bicycle": "Fahrrad", "café": "Café", "coat": "Mantel"}
ODD = "one\u2028two\x85three\rfour"  # one line, although Python sees ends of lines in it


def sentences(language, count, seed):
    """Return lines of 4 or 7 words, after one that has odd ends of lines in it."""
    generator, lines = random.Random(seed), []
    for _ in range(count):
        words = [NOUNS[n] if language == "de" else n for n in generator.choices([*NOUNS], k=3)]
        lines.append(f"The {words[0]} & {words[1]}." + f" “A {words[2]}” it's." * (len(lines) % 2))
    return [ODD, *lines[1:]]


def publish(files):
    """Put Multi30k's archives on the site; return their checksums as sha256sum writes them."""
    sums = ""
    for seed, (name, count) in enumerate(PUBLISHED.items()):
        for language in ("en", "de"):
            text = "".join(f"{line}\n" for line in sentences(language, count, seed)).encode()
            content = gzip.compress(text, mtime=0)
            files[f"/mirror/{PLACE}/{name}.{language}.gz"] = content
            sums += f"{hashlib.sha256(content).hexdigest()}  {PLACE}/{name}.{language}.gz\n"
    return sums


class Multi30k:
    def __init__(self, site, folder):
        self.site, self.out, self.sums = site, folder / "data" / "multi30k", folder / "sums"
        self.sums.write_text(publish(site.files))

    def replace(self, name, content):
        """Publish another archive, with its own checksum."""
        place = f"{PLACE}/{name}"
        self.site.files[f"/mirror/{place}"] = content
        digest = hashlib.sha256(content).hexdigest()
        text = re.sub(rf"\w+(?=  {place}$)", digest, self.sums.read_text(), flags=re.MULTILINE)
        self.sums.write_text(text)

    def run(self, *options, **variables):
        variables = {"DATA_MIRROR": self.site.address + "/mirror"} | variables
        common = ["--out", self.out, "--size", 60, "--workers", 1, "--checksums", self.sums]
        return run("multi30k.sh", *common, *options, **variables)


@pytest.fixture
def multi30k(site, tmp_path):
    return Multi30k(site, tmp_path)


def redone(out):
    return [line.partition(":")[0] for line in out.splitlines() if line.endswith("working ...")]


def lines(path):
    return path.read_bytes().decode().removesuffix("\n").split("\n")


def examples(out):
    """Return how many sentences fairseq-preprocess has read, by prefix and language."""
    log = (out / "bin" / "preprocess.log").read_text()
    found = re.findall(r"(?:bpe|joined)/(\w+)\.(\w\w): (\d+) sents", log)
    return {(split, language): int(count) for split, language, count in found}


def test_multi30k(multi30k):
    """From a mirror whose connection breaks; skipped, redone in part, and with other options."""
    site, out = multi30k.site, multi30k.out
    train = f"/mirror/{PLACE}/train.en.gz"
    site.cuts[train] = [len(site.files[train]) // 2]
    done = succeeds(multi30k.run())
    assert redone(done) == ["raw", "tokenise", "model", "subwords", "describe", "binarise"]
    assert site.sent[train] == len(site.files[train])
    for folder in ("raw", "tok", "bpe"):
        wanted = sorted(f"{split}.{language}" for split in SPLITS for language in ("en", "de"))
        assert tree(out / folder) == wanted
        for split, count in SPLITS.items():
            assert {len(lines(out / folder / f"{split}.{x}")) for x in ("en", "de")} == {count}
    for language in ("en", "de"):
        name = f"/mirror/{PLACE}/test_2017_flickr.{language}.gz"
        raw = (out / "raw" / f"test2017.{language}").read_bytes()
        assert raw == gzip.decompress(site.files[name])
    assert lines(out / "tok/train.en")[0] == "one two threefour"  # Moses drops "\r"
    assert re.fullmatch(
        "the .* &amp; .* . &quot; a .* &quot; it &apos;s .", lines(out / "tok/train.en")[1]
    )
    assert lines(out / "bpe/train.en")[1].replace("@@ ", "") == lines(out / "tok/train.en")[1]
    assert len(lines(out / "bpe.model")) == 61
    assert examples(out) == {(s, x): n for s, n in SPLITS.items() for x in ("en", "de")}
    assert {"test.en-de.de.bin", "test1.en-de.de.bin"} <= set(tree(out / "bin"))
    assert json.loads((out / "corpus.json").read_text()) == {
        "corpus": "multi30k",
        "source": "en",
        "target": "de",
        "tests": ["test2016", "test2017"],
        "tokenizer": "moses",
        "steps": ["lowercase", "normalise", "tokenise"],
        "lowercase": True,
        "subword": "subword_nmt",
        "train_max_words": None,
    }
    table = done.splitlines()[-6:]
    assert table[4].split()[:2] == ["test2017", "7"] and table[1].split()[:2] == ["train", "60"]
    symbols = len(lines(out / "bin/dict.de.txt")) + 4
    assert table[5] == f"dictionary: en {symbols:,}, de {symbols:,} symbols"

    site.requests.clear()
    assert redone(succeeds(multi30k.run())) == [] and site.requests == []
    (out / "tok/valid.de").unlink()
    assert redone(succeeds(multi30k.run())) == ["tokenise"]

    options = ("--subword", "sentencepiece", "--train-max-words", 4, "--size", 40)
    stages = ["raw", "model", "subwords", "describe", "binarise"]
    assert redone(succeeds(multi30k.run(*options))) == stages
    kept = [out / folder / f"train.{x}" for folder in ("raw", "bpe") for x in ("en", "de")]
    assert [len(lines(path)) for path in kept] == [30] * 4
    assert all(len(line.split()) <= 4 for line in lines(out / "raw/train.en"))
    pieces = lines(out / "bpe/test2016.de")[1].replace(" ", "").replace("▁", " ").strip()
    assert pieces == lines(out / "raw/test2016.de")[1] and not (out / "tok").exists()
    corpus = json.loads((out / "corpus.json").read_text())
    found = [corpus[name] for name in ("tokenizer", "lowercase", "subword", "train_max_words")]
    assert found == [None, False, "sentencepiece", 4]
    site.requests.clear()
    assert redone(succeeds(multi30k.run(*options))) == [] and site.requests == []


def test_multi30k_with_a_wrong_checksum(multi30k):
    name = "val.de.gz"
    address = f"{multi30k.site.address}/mirror/{PLACE}/{name}"
    wanted = multi30k.sums.read_text().split(f"  {PLACE}/{name}")[0][-64:]
    multi30k.site.files[f"/mirror/{PLACE}/{name}"] = b"other"
    got = hashlib.sha256(b"other").hexdigest()
    message = f"{address} has sha256 {got}, not {wanted}"
    mend = "the download was deleted, fix the mirror or unset DATA_MIRROR"
    fails(multi30k.run(), f"{message}: {mend}")
    assert tree(multi30k.out) == []
    download = multi30k.out.parent / "download" / "multi30k"
    assert all(path.suffix == ".gz" for path in download.iterdir())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"nur\nzwei\n", "{part}/valid.en has 9 lines but {part}/valid.de has 2: delete both"),
        (
            b"Stra\xdfe\n" * 9,
            "{part}/valid.de, line 1, byte 5: not UTF-8 (invalid continuation byte)",
        ),
    ],
    ids=["unequal", "latin-1"],
)
def test_multi30k_with_files_that_are_not_parallel(multi30k, text, why):
    """Nothing of the stage is left, and the next run completes it with good files."""
    good = multi30k.site.files[f"/mirror/{PLACE}/val.de.gz"]
    multi30k.replace("val.de.gz", gzip.compress(text))
    done = multi30k.run()
    begin = "error: raw: " + why.format(part=multi30k.out / "raw.part")
    assert done.returncode == 1 and done.stderr.startswith(begin), done.stderr
    assert done.stderr.endswith(f": see {multi30k.out}/.stages/raw.log\n")
    assert done.stderr.count("\n") == 1
    assert not (multi30k.out / "raw").exists() and not (multi30k.out / ".stages/raw").exists()
    if b"\xdf" in text:
        return  # the rest is the same in both cases
    multi30k.replace("val.de.gz", good)
    assert "it was deleted, run again to download it" in multi30k.run().stderr
    done = multi30k.run("--subword", "sentencepiece", "--size", 9999)
    assert redone(done.stdout) == ["raw", "model"]
    assert "error: model: --size 9999 does not suit the text: Vocabulary size" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "en"], "--target must be one of de fr, got en"),
        (["--subword", "bpe"], "--subword must be one of subword-nmt sentencepiece, got bpe"),
        (["--train-max-words", "-1"], "--train-max-words must be a whole number >= 0, got -1"),
        (
            ["--merges", "1"],
            "unknown option --merges: choose from --target --out --subword --size "
            "--train-max-words --workers --checksums --help",
        ),
    ],
)
def test_bad_options_are_one_line(options, message):
    fails(run("multi30k.sh", *options), message)


@pytest.mark.parametrize("name", ["multi30k.sh", "bible.sh"])
def test_help_names_every_option(name):
    text, script = succeeds(run(name, "--help")), (PREP / name).read_text()
    options = re.search(r"^parse_options (.*) --", script, re.MULTILINE)[1].split()
    assert all(f"  --{option.lower().replace('_', '-')} " in text for option in options)


LORD = '<w lemma="strong:H3068">God</w>'
NOTE = '<note placement="foot"><reference>1:1 </reference>Literally, <rdg>x</rdg></note>'
ADDED = '<transChange type="added">{}</transChange>'


@pytest.mark.parametrize(
    ("osis", "words"),
    [
        (f"In the beginning, {LORD}{NOTE}created{NOTE}. ", "In the beginning, God created."),
        (f"He said,{NOTE}“Go!{NOTE}” ({NOTE}now)", "He said, “Go!” (now)"),
        ("<l level='1'>Sing,</l> <l>\n  cafe\u0301</l>", "Sing, café"),
        ("<title type='psalm'>A Psalm.</title> Hear<speaker>Friends</speaker>", "A Psalm. Hear"),
        ("Amen. <chapter eID='Rev.22'/> <title>Glossary</title> abba: father", "Amen."),
        (f"<w>son</w>{ADDED.format('de')}<w>Jacob</w>", "son de Jacob"),
        (f"díjo{ADDED.format('le')}Dios: trae{ADDED.format('lo')}.", "díjole Dios: traelo."),
        (f"¿{ADDED.format('es')} bueno?", "¿es bueno?"),
        (NOTE, ""),
    ],
)
def test_verses_without_markup(osis, words):
    assert bible.clean(osis) == words


VERSES = {
    "train": [("Genesis", 1, n) for n in range(1, 32)] + [("Mark", 2, n) for n in range(1, 20)],
    "valid": [("Ruth", 1, n) for n in range(1, 7)],
    "test": [("Daniel", 3, n) for n in range(1, 6)] + [("James", 1, n) for n in range(1, 4)],
}


def write_bibles(folder, longer=()):
    """Write two packages with their checksums; ``longer`` verses have ten more words."""
    everything = [verse for part in VERSES.values() for verse in part]
    english = {
        verse: f"The {LORD} of {verse[0]} {verse[1]} said {verse[2]}." for verse in everything
    }
    spanish = {verse: f"Dijo {verse[2]} el Dios de {verse[0]} {verse[1]}." for verse in everything}
    english["Genesis", 1, 31] += f'{NOTE}<chapter eID="Gen.1"/> <title>Glossary</title>'
    for verse in longer:
        english[verse] += " and so on" * 3 + " indeed"
    spanish["Genesis", 1, 30] = NOTE  # so this pair is dropped
    spanish["Mark", 1, 1] = "Sin par."
    english["Jonah", 2, 1] = spanish["Jonah", 2, 1] = "Otherwise."
    sums = ""
    for name, texts in (("web_426.0-1", english), ("sparv_2.60-1", spanish)):
        path = folder / f"sword-text-{name}_all.deb"
        path.write_bytes(package(name.partition("_")[0], texts))
        sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    (folder / "sums").write_text(sums)


def prepare_bible(folder, *options, **variables):
    common = ["--out", folder / "out", "--size", 50, "--workers", 1, "--checksums", folder / "sums"]
    return run("bible.sh", *common, *options, **{"DATA_MIRROR": folder} | variables)


def test_bible(tmp_path):
    write_bibles(tmp_path)
    out = tmp_path / "out"
    stages = ["raw", "model", "subwords", "describe", "binarise"]
    assert redone(succeeds(prepare_bible(tmp_path))) == stages
    for split, wanted in VERSES.items():
        names = [f"{book} {chapter}:{verse}" for book, chapter, verse in wanted]
        names = [name for name in names if name != "Genesis 1:30"]
        assert lines(out / f"raw/{split}.verse") == names
        assert [len(lines(out / f"bpe/{split}.{x}")) for x in ("en", "es")] == [len(names)] * 2
    assert lines(out / "raw/train.en")[29] == "The God of Genesis 1 said 31."
    assert lines(out / "raw/test.es")[0] == "Dijo 1 el Dios de Daniel 3."
    assert examples(out)["test", "es"] == 8
    assert json.loads((out / "corpus.json").read_text())["tests"] == ["test"]
    assert redone(succeeds(prepare_bible(tmp_path))) == []


def test_documents_are_runs_of_verses(tmp_path):
    write_bibles(tmp_path)
    out = tmp_path / "out"
    succeeds(prepare_bible(tmp_path, "--verses", 2))
    # Daniel 3:1-5 and James 1:1-3: no document continues in another chapter.
    names = ["Daniel 3:1-2", "Daniel 3:3-4", "Daniel 3:5", "James 1:1-2", "James 1:3"]
    assert lines(out / "raw/test.verse") == names
    assert lines(out / "raw/test.es")[:3] == [
        "Dijo 1 el Dios de Daniel 3. <s/> Dijo 2 el Dios de Daniel 3.",
        "Dijo 3 el Dios de Daniel 3. <s/> Dijo 4 el Dios de Daniel 3.",
        "Dijo 5 el Dios de Daniel 3.",
    ]
    separators = [line.split().count("<s/>") for line in lines(out / "bpe/test.es")]
    assert separators == [1, 1, 0, 1, 0]
    assert json.loads((out / "corpus.json").read_text())["separator"] == "<s/>"
    fails(
        prepare_bible(tmp_path, "--verses", 2, "--subword", "subword-nmt"),
        "--verses 2 needs --subword sentencepiece",
    )


def test_long_pairs_that_are_not_trained_on_are_a_test(tmp_path):
    """Except those of books that others repeat, and those that are nearly short enough."""
    long, twin = [("Genesis", 1, 3), ("Genesis", 1, 9)], ("Mark", 2, 1)
    write_bibles(tmp_path, longer=[*long, twin])
    out, options = tmp_path / "out", ["--train-max-words", 7, "--long-test", 16]
    succeeds(prepare_bible(tmp_path, *options))
    assert lines(out / "raw/long.verse") == ["Genesis 1:3", "Genesis 1:9"]
    assert not set(lines(out / "raw/long.en")) & set(lines(out / "raw/train.en"))
    assert [len(text.split()) for text in lines(out / "raw/long.en")] == [17, 17]
    assert not {"Genesis 1:9", "Mark 2:1"} & set(lines(out / "raw/train.verse"))
    assert examples(out)["long", "es"] == 2 and not list(out.glob("raw/single*"))
    assert json.loads((out / "corpus.json").read_text())["tests"] == ["test", "long"]
    fails(
        prepare_bible(tmp_path, "--train-max-words", 7, "--long-test", 6),
        "--long-test 6 is for pairs that are not trained on: set --train-max-words to a value "
        "from 1 to 6",
    )


def test_neighbouring_pairs_are_joined(tmp_path):
    write_bibles(tmp_path)
    out = tmp_path / "out"
    done = redone(succeeds(prepare_bible(tmp_path, "--joined", "yes")))
    assert done == ["raw", "model", "subwords", "describe", "join", "binarise"]
    for language in ("en", "es"):
        single = lines(out / f"bpe/train.{language}")
        pairs = [f"{first} {second}" for first, second in zip(single, single[1:])]
        assert lines(out / f"joined/train.{language}") == single + pairs
        assert examples(out)["train", language] == 2 * len(single) - 1
        assert examples(out)["test", language] == 8
    assert json.loads((out / "corpus.json").read_text())["joined"] is True
    counts = json.loads((out / "summary.json").read_text())["splits"]
    assert counts["joined"]["pairs"] == 2 * counts["train"]["pairs"] - 1
    assert redone(succeeds(prepare_bible(tmp_path))) == ["describe", "binarise"]
    assert examples(out)["train", "en"] == len(lines(out / "bpe/train.en"))
    assert "joined" not in json.loads((out / "corpus.json").read_text())
    why = "--joined yes is for single verses: leave out --verses 2"
    fails(prepare_bible(tmp_path, "--verses", 2, "--joined", "yes"), why)


def test_a_gap_between_verses_ends_a_document():
    verses = [("Job", 1, 1), ("Job", 1, 2), ("Job", 1, 4), ("Job", 1, 5), ("Job", 2, 6)]
    runs = list(bible.runs_of(verses, 9))
    assert [len(run) for run in runs] == [2, 2, 1] and sum(runs, []) == verses


def test_bibles_that_are_not_to_be_had(tmp_path):
    write_bibles(tmp_path)
    deb = tmp_path / "sword-text-sparv_2.60-1_all.deb"
    good = deb.read_bytes()
    deb.write_bytes(good[:-99])
    done = prepare_bible(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {deb} has sha256 ")
    assert done.stderr.endswith("was deleted, fix the mirror or unset DATA_MIRROR\n")

    sums = (tmp_path / "sums").read_text()
    digests = [hashlib.sha256(content).hexdigest() for content in (good, good[:-99])]
    (tmp_path / "sums").write_text(sums.replace(*digests))
    archive = tmp_path / "download/bible" / deb.name
    why = f"{archive} is damaged (the file ends within data.tar): delete it and run again"
    fails(prepare_bible(tmp_path), f"raw: {why}: see {tmp_path}/out/.stages/raw.log")
    assert tree(tmp_path / "out") == []


def test_a_bible_without_held_out_books(tmp_path):
    texts = {("Genesis", 1, 1): "In the beginning"}
    (tmp_path / "web.deb").write_bytes(package("web", texts))
    succeeds(run("unpack.py", tmp_path / "web.deb", tmp_path / "web"))
    folder = tmp_path / "web/usr/share/sword"
    sides = [f"en={folder}", f"es={folder}", tmp_path / "raw"]
    books = "Ruth Zechariah Malachi Philippians I Peter"
    fails(
        run("bible.py", *sides),
        f"no pairs for valid ({books}): the modules lack them, get others",
    )
    (folder / "mods.d/web.conf").unlink()
    fails(run("bible.py", *sides), f"{folder} has 0 modules, not 1: name another folder")
