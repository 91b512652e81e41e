"""wmt14.sh on small archives, compared with what fairseq's scripts make of them."""

import json

import pytest
from corpora import fails, run, sha256, succeeds, tree
from published import Published, tar, wanted, wmt14, wmt14_members

pytest_plugins = ["corpora"]

EUROPARL = "www.statmt.org/wmt13/training-parallel-europarl-v7.tgz"
CRAWL = "www.statmt.org/wmt13/training-parallel-commoncrawl.tgz"
TEST = "www.statmt.org/wmt14/test-full.tgz"
CORPORA = {
    "wmt14.en-de": {"train": 370, "valid": 5, "test": 30},
    "wmt14.en-de.icml17": {"train": 361, "valid": 4, "test": 30},
    "wmt14.en-fr": {"train": 1891, "valid": 1, "test": 30},
}


@pytest.fixture
def corpus(site, tmp_path):
    return Published("wmt14.sh", wmt14(), site, tmp_path)


@pytest.mark.parametrize("name", CORPORA)
def test_a_whole_preparation(corpus, name):
    """The files equal those of fairseq's scripts, byte for byte, and are made only once."""
    target = name[9:11]
    options = ["--target", target] + ["--icml17"] * name.endswith("icml17")
    succeeds(corpus.run(*options, binarise=name == "wmt14.en-de"))
    made = {file: sha256(corpus.out / file) for file in wanted(name)}
    assert made == wanted(name)
    for split, count in CORPORA[name].items():
        for language in ("en", target):
            raw, tok, bpe = (
                corpus.read(f"{kind}/{split}.{language}") for kind in ("raw", "tok", "bpe")
            )
            assert len(raw) == len(tok) == len(bpe) == count
            words = [line.replace("@@ ", "").split() for line in bpe]
            assert words == [line.split() for line in tok]
    assert json.loads((corpus.out / "corpus.json").read_bytes()) == {
        "corpus": "wmt14",
        "source": "en",
        "target": target,
        "tests": ["test"],
        "tokenizer": "moses",
        "steps": ["tokenise-aggressive"],
        "lowercase": False,
        "subword": "subword_nmt",
        "train_max_words": None,
    }
    binary = {"bin/dict.en.txt", "bin/train.en-de.en.bin", "bin/test.en-de.de.bin"}
    assert name != "wmt14.en-de" or binary <= {*tree(corpus.out)}
    assert "working" not in succeeds(corpus.run(*options))


def test_short_pairs_in_pieces(corpus):
    """--train-max-words counts English words of train; pieces join to the plain text, even bars."""
    options = ("--subword", "sentencepiece", "--size", 200, "--train-max-words", 8)
    succeeds(corpus.run(*options))
    for split in CORPORA["wmt14.en-de"]:
        for language in ("en", "de"):
            raw = corpus.read(f"raw/{split}.{language}")
            joined = [
                line.replace(" ", "").replace("▁", " ")
                for line in corpus.read(f"bpe/{split}.{language}")
            ]
            assert [line.strip() for line in joined] == [" ".join(line.split()) for line in raw]
    train = corpus.read("raw/train.en")
    assert 100 < len(train) and max(len(line.split()) for line in train) <= 8
    assert any("|" in line for line in train)
    shorter, longer = corpus.read("raw/valid.en"), corpus.read("raw/long.en")
    assert shorter and max(len(line.split()) for line in shorter) <= 8
    assert longer and min(len(line.split()) for line in longer) > 8
    assert len(corpus.read("raw/test.en")) == 30 and not (corpus.out / "tok").exists()
    description = json.loads((corpus.out / "corpus.json").read_bytes())
    assert (
        description["steps"] == []
        and description["tokenizer"] is None
        and description["train_max_words"] == 8
    )
    assert description["tests"] == ["test", "long"]


def changed(archive, member, change):
    """Return an archive with one member changed, or dropped if ``change`` returns None."""
    members = wmt14_members()[archive]
    members[member] = change(members[member])
    members = {name: text for name, text in members.items() if text is not None}
    return {archive: tar(members)}


def lacks(*_):
    return None


FAULTS = {
    "missing text": (
        (CRAWL, "commoncrawl.de-en.en", lacks),
        " lacks commoncrawl.de-en.en",
    ),
    "unequal text": (
        (EUROPARL, "training/europarl-v7.de-en.de", lambda text: text + b"more\n"),
        ": europarl-v7.de-en.en has 180 lines but europarl-v7.de-en.de has 181",
    ),
    "not UTF-8": (
        (CRAWL, "commoncrawl.de-en.de", lambda text: text.replace(b"\n", b"\xff\n", 1)),
        ": commoncrawl.de-en.de, line 1, byte {}: not UTF-8 (invalid start byte)",
    ),
    "missing test": (
        (TEST, "test-full/newstest2014-deen-ref.de.sgm", lacks),
        " lacks test-full/newstest2014-deen-ref.de.sgm",
    ),
    "unequal test": (
        (
            TEST,
            "test-full/newstest2014-deen-ref.de.sgm",
            lambda text: text.replace(b"<seg", b"", 1),
        ),
        ": test.en has 30 lines but test.de has 29",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_archives(corpus, fault):
    (archive, member, change), message = FAULTS[fault]
    first = len(wmt14_members()[archive][member].partition(b"\n")[0])
    corpus.publish(changed(archive, member, change))
    file = corpus.out.parent / "download" / "wmt14" / archive.rpartition("/")[2]
    log = corpus.out / ".stages" / "text.log"
    message = message.format(first + 1)
    fails(corpus.run(), f"text: {file}{message}: get it from its publisher: see {log}")
    assert not (corpus.out / "uncleaned" / "raw").exists()


def test_archives_that_are_not_the_published_ones(corpus):
    """Without a list of checksums, only the archives of WMT14 are accepted."""
    done = run("wmt14.sh", "--out", corpus.out, DATA_MIRROR=corpus.site.address)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "not a8cd784e006feb32ac6f3d9ec7eb389a" in done.stderr


def test_options_are_checked():
    only = "--icml17 is for --target de: leave it out for French"
    fails(run("wmt14.sh", "--icml17", "--target", "fr"), only)
    fails(run("wmt14.sh", "--target", "es"), "--target must be one of de fr, got es")
    done = run("wmt14.sh", "--dry")
    assert done.stderr.startswith("error: unknown option --dry: choose from --target --icml17 ")
