"""iwslt14.sh on a small archive, compared with what fairseq's script makes of it."""

import json

import pytest
from corpora import fails, run, sha256, succeeds, tree
from moses import Tokeniser, lowercase
from published import Published, iwslt14, iwslt14_members, tar, wanted

pytest_plugins = ["corpora"]

ARCHIVE = "dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz"
TRAIN = "de-en/train.tags.de-en"
TALK = "de-en/IWSLT14.TED.tst2011.de-en"
SPLITS = {"train": 542, "valid": 24, "test": 60}


@pytest.fixture
def corpus(site, tmp_path):
    return Published("iwslt14.sh", iwslt14(), site, tmp_path)


def tokens(lines):
    return [line.split() for line in lines]


def test_a_whole_preparation(corpus):
    """The files equal those of fairseq's script, byte for byte, and are made only once."""
    succeeds(corpus.run(binarise=True))
    made = {file: sha256(corpus.out / file) for file in wanted("iwslt14")}
    assert made == wanted("iwslt14")
    for split, count in SPLITS.items():
        raw, tok, bpe = (corpus.read(f"{folder}/{split}.de") for folder in ("raw", "tok", "bpe"))
        assert len(raw) == len(tok) == len(bpe) == count
        again = map(Tokeniser("de", aggressive=False), raw)
        assert tokens(map(lowercase, again)) == tokens(tok)
        assert tokens(line.replace("@@ ", "") for line in bpe) == tokens(tok)
    assert json.loads((corpus.out / "corpus.json").read_bytes()) == {
        "corpus": "iwslt14",
        "source": "de",
        "target": "en",
        "tests": ["test"],
        "tokenizer": "moses",
        "steps": ["tokenise", "lowercase"],
        "lowercase": True,
        "subword": "subword_nmt",
        "train_max_words": None,
    }
    assert {"bin/dict.de.txt", "bin/train.de-en.de.bin", "bin/test.de-en.en.bin"} <= {
        *tree(corpus.out)
    }
    assert "working" not in succeeds(corpus.run())


def test_short_pairs_in_pieces(corpus):
    """--train-max-words counts the German words of train; pieces join to the plain text."""
    options = ("--subword", "sentencepiece", "--size", 200, "--train-max-words", 6)
    out = succeeds(corpus.run(*options))
    long = [line for line in corpus.read("raw/train.de") if len(line.split()) > 6]
    assert not long and "sentencepiece" in (corpus.out / "corpus.json").read_text()
    for split in SPLITS:
        for language in ("de", "en"):
            raw = corpus.read(f"raw/{split}.{language}")
            assert raw and len(raw) <= SPLITS[split]
            pieces = corpus.read(f"bpe/{split}.{language}")
            joined = [line.replace(" ", "").replace("▁", " ").strip() for line in pieces]
            assert joined == [" ".join(line.split()) for line in raw]
    assert len(corpus.read("raw/test.de")) == 60 and "train" in out


def without(name):
    return {member: text for member, text in iwslt14_members().items() if member != name}


def changed(name, change):
    members = iwslt14_members()
    return members | {name: change(members[name])}


FAULTS = {
    "missing text": (without(f"{TRAIN}.en"), " lacks de-en/train.tags.de-en.en"),
    "missing talk": (without(f"{TALK}.de.xml"), f" lacks {TALK}.de.xml"),
    "unequal text": (
        changed(f"{TRAIN}.en", lambda text: text + b"more\n"),
        ": train.de has 708 lines but train.en has 709",
    ),
    "unequal talk": (
        changed(f"{TALK}.de.xml", lambda text: text.replace(b'<seg id="3">', b"")),
        ": test.de has 59 lines but test.en has 60",
    ),
    "no text": (
        changed(f"{TRAIN}.de", lambda text: b"<url>x</url>\n"),
        " has no text for train.de",
    ),
    "not UTF-8": (
        changed(f"{TRAIN}.en", lambda text: text.replace(b"house", b"h\xffuse", 1)),
        ": train.en, line 1, byte 15: not UTF-8 (invalid start byte)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_archive(corpus, fault):
    members, message = FAULTS[fault]
    corpus.publish({ARCHIVE: tar(members)})
    log = corpus.out / ".stages" / "text.log"
    archive = corpus.out.parent / "download" / "iwslt14" / "de-en.tgz"
    fails(corpus.run(), f"text: {archive}{message}: get it from its publisher: see {log}")
    assert not (corpus.out / "text").exists()


def test_an_archive_that_is_cut_off(corpus):
    corpus.publish({ARCHIVE: iwslt14()[ARCHIVE][:9000]})
    done = corpus.run()
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "de-en.tgz is damaged (" in done.stderr


def test_an_archive_that_is_not_the_published_one(site, tmp_path):
    """Without a list of checksums, only the archive of IWSLT14 is accepted."""
    corpus = Published("iwslt14.sh", iwslt14(), site, tmp_path)
    options = ("--out", corpus.out, "--workers", 1)
    done = run("iwslt14.sh", *options, DATA_MIRROR=site.address)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "not 10936dfdf616504ddbd844e91b94ef4a" in done.stderr


def test_options_are_checked():
    choices = "--out --subword --size --train-max-words --workers --checksums --help"
    fails(run("iwslt14.sh", "--target", "en"), f"unknown option --target: choose from {choices}")
    help = succeeds(run("iwslt14.sh", "--help"))
    assert "Prepare IWSLT14" in help and "set -euo" not in help
