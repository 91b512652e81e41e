"""English text for a masked language model, and files from zip archives."""

import zipfile

import pytest
from corpora import run, succeeds
from launching import bash
from places import ROOT
from pretrained import write_model

from fairseq_floater.checkpoints.convert import convert_huggingface

WIKITEXT = {
    "wikitext-2-raw/wiki.train.raw": (
        " \n = A fox = \n \n The fox is 1 @,@ 000 @.@ 5 cm long , well @-@ known . \n"
        " \n = = Its tail = = \n \n a = b \n"
    ),
    "wikitext-2-raw/wiki.valid.raw": " One . \n",
    "wikitext-2-raw/wiki.test.raw": " Two . \n",
}


def brown(documents=20):
    """Return documents of one sentence, named like Brown's, of which only the words are kept."""
    text = "\n\n\tThe/at fox/nn ``/`` jumps/vbz ''/'' ,/, number/nn {}/cd-hl ./.\n\n"
    found = {f"brown/ca{n:02}": text.format(n) for n in range(1, documents + 1)}
    return {**found, "brown/README": "no text", "brown/cats.txt": "ca01 news"}


def archive(folder, files):
    path = folder / "published.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    return path


def prepare(corpus, path, out):
    return run("plain.py", corpus, path, "--out", out)


def test_paragraphs_of_wikitext(tmp_path):
    done = succeeds(prepare("wikitext", archive(tmp_path, WIKITEXT), tmp_path / "raw"))
    lines = (tmp_path / "raw/train.txt").read_text().splitlines()
    assert lines == ["The fox is 1,000.5 cm long , well-known .", "a = b"]
    assert "train: 2 lines, 12 words\nvalid: 1 lines, 2 words\n" in done


def test_sentences_of_brown(tmp_path):
    succeeds(prepare("brown", archive(tmp_path, brown()), tmp_path / "raw"))
    texts = {
        split: (tmp_path / f"raw/{split}.txt").read_text() for split in ("train", "valid", "test")
    }
    assert texts["valid"] == 'The fox "jumps", number 9.\nThe fox "jumps", number 19.\n'
    assert texts["test"] == 'The fox "jumps", number 10.\nThe fox "jumps", number 20.\n'
    assert len(texts["train"].splitlines()) == 16


@pytest.mark.parametrize(
    "corpus, content, message",
    [
        ("wikitext", b"PK no zip", "published.zip is damaged (File is not a zip file)"),
        ("wikitext", {"a/wiki.train.raw": "x"}, "published.zip has no valid.raw"),
        ("brown", brown(documents=5), "published.zip has no text for valid: get it from"),
        ("brown", {}, "published.zip has no text for train"),
        ("brown", {"brown/ca01": b"The/at f\xffx/nn"}, "brown/ca01, line 1, byte 9: not UTF-8"),
        (
            "brown",
            {"brown/ca01": bytes(70_000_000)},
            "published.zip: it would unpack to more than the allowed",
        ),
    ],
)
def test_archives_that_are_not_as_they_should_be(corpus, content, message, tmp_path):
    if isinstance(content, bytes):
        path = tmp_path / "published.zip"
        path.write_bytes(content)
    else:
        path = archive(tmp_path, content)
    done = prepare(corpus, path, tmp_path / "raw")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_what_the_script_refuses(tmp_path):
    """An archive with another checksum, and an unknown corpus."""
    convert_huggingface(write_model(tmp_path / "there", "bert"), tmp_path / "model/model.pt", {})
    archive(tmp_path, brown()).rename(tmp_path / "brown.zip")
    command = [ROOT / "data-prep/wikitext.sh", "--model", tmp_path / "model"]
    command += ["--out", tmp_path / "out"]
    done = bash(*command, "--corpus", "brown", variables={"DATA_MIRROR": tmp_path})
    assert done.returncode == 1 and "brown.zip has sha256" in done.stderr
    done = bash(*command, "--corpus", "words")
    assert "--corpus must be one of wikitext-103 wikitext-2 brown, got words" in done.stderr
