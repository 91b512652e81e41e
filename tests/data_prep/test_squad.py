"""SQuAD: splits of the published files, questions with faults, and mistakes."""

import json

import pytest
from corpora import run, succeeds
from launching import bash
from places import ROOT
from pretrained import write_model

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.data import read_squad

HALF, XQUAD = "dev-v2.0.subset-cs224n.json", "dev-v1.1.subset-xquad.json"


def article(title, *passages, answered=True, file=""):
    """Return an article with one question per passage, about its second word."""
    paragraphs = []
    for number, context in enumerate(passages):
        word = context.split()[1]
        answers = [{"text": word, "answer_start": context.index(word)}] if answered else []
        asked = {"id": f"{file}{title}{number}", "question": "What?", "answers": answers}
        paragraphs.append({"context": context, "qas": [asked]})
    return {"title": title, "paragraphs": paragraphs}


def published(folder, **files):
    """Write a folder with files of these articles."""
    folder.mkdir()
    for name, articles in files.items():
        content = {"version": "2", "data": articles}
        (folder / name).write_text(json.dumps(content))
    return folder


def prepare(corpus, folder, out):
    return run("squad.py", corpus, folder, "--out", out)


def titles(path):
    return [found["title"] for found in json.loads(path.read_text())["data"]]


def test_official_files_as_they_are(tmp_path):
    files = {
        "train-v2.0.json": [
            article("Dog", "A dog barks."),
            article("Cat", "A cat", answered=False),
        ],
        "dev-v2.0.json": [article("Fox", "A fox jumps.")],
    }
    folder = published(tmp_path / "there", **files)
    done = succeeds(prepare("2.0", folder, tmp_path / "out"))
    assert "train: 2 articles, 2 passages, 2 questions, 1 without an answer\n" in done
    for split, name in {"train": "train-v2.0.json", "valid": "dev-v2.0.json"}.items():
        assert read_squad(tmp_path / f"out/{split}.json") == read_squad(folder / name)


def test_questions_with_faults_are_left_out_and_named(tmp_path):
    bad, good = article("Dog", "A dog barks.", "A fox jumps."), article("Cat", "A cat.")
    bad["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 5
    files = {"train-v1.1.json": [bad, good, good], "dev-v1.1.json": [good]}
    done = succeeds(prepare("1.1", published(tmp_path / "there", **files), tmp_path / "out"))
    assert "train: 2 articles, 2 passages, 2 questions, 0 without an answer\n" in done
    assert (
        "train: 2 questions left out, for example: the answer 'dog' to question Dog0 is not" in done
    )
    assert "question Cat0 is there twice" in done
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert len(report["train"]["left out"]) == 2 and not report["valid"]["left out"]


def test_no_passage_and_no_article_is_in_two_splits(tmp_path):
    """What XQuAD asks about is not trained on, and tests use articles outside the half."""
    ours = [article(t, f"The {t} one.", f"The {t} two.", file="h") for t in "ABCDEFGH"]
    ours.append(article("I", "The I one.", answered=False))
    theirs = [
        article("A", "The A one.", file="x"),
        article("B", "The B one.", file="x"),
        article("Z", "The Z one.", "The Z two.", file="x"),
    ]
    folder = published(tmp_path / "there", **{HALF: ours, XQUAD: theirs})
    succeeds(prepare("half-1.1", folder, tmp_path / "a"))
    found = {
        split: read_squad(tmp_path / f"a/{split}.json") for split in ("train", "valid", "test")
    }
    assert titles(tmp_path / "a/valid.json") == ["B"] and titles(tmp_path / "a/test.json") == ["Z"]
    whole = [read_squad(tmp_path / f"a/{split}.json") for split in ("test1", "test2")]
    assert whole[0] == whole[1] and whole[0].passages == ["The Z one.\nThe Z two."]
    places = [(q.answers[0].begin, q.answers[0].text) for q in whole[0].questions]
    assert places == [(4, "Z"), (15, "Z")]
    assert "The A two." in found["train"].passages and "The A one." not in found["train"].passages
    assert all(question.answers for question in found["train"].questions)
    succeeds(prepare("half-2.0", folder, tmp_path / "b"))
    # A is not in valid of half-1.1, since choices made there serve both corpora.
    assert titles(tmp_path / "b/valid.json") == ["A", "E", "I"]
    assert titles(tmp_path / "b/train.json") == list("BCDFGH")


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "train-v2.0.json is not laid out as SQuAD's files are"),
        ('{"data": []}', "train-v2.0.json has nothing for train: get it again"),
        (None, "run data-prep/squad.sh, which gets it"),
    ],
)
def test_files_that_are_not_as_they_should_be(content, message, tmp_path):
    folder = published(tmp_path / "there", **{"dev-v2.0.json": [article("A", "The fox.")]})
    if content is not None:
        (folder / "train-v2.0.json").write_text(content)
    done = prepare("2.0", folder, tmp_path / "out")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_script_gets_checks_and_splits(tmp_path):
    """A mirror's file with other content is refused; mistakes are one line."""
    convert_huggingface(write_model(tmp_path / "there", "bert"), tmp_path / "model/model.pt", {})
    mirror = tmp_path / "mirror/rajpurkar.github.io/SQuAD-explorer/dataset"
    mirror.mkdir(parents=True)
    (mirror / "train-v2.0.json").write_text("{}")
    script, model = ROOT / "data-prep/squad.sh", ["--model", tmp_path / "model"]
    environment = {"DATA_MIRROR": str(tmp_path / "mirror")}
    out = ["--out", tmp_path / "out/squad"]
    for options, message in {
        ("--corpus", "3.0"): "--corpus must be one of 1.1 2.0 half-1.1 half-2.0, got 3.0",
        (): "has md5 99914b932bd37a50b983c5e7c90ae93b, not 62108c273c268d70893182d5cf8df740",
    }.items():
        done = bash(script, *options, *model, *out, variables=environment)
        assert done.returncode == 1 and message in done.stderr, done.stderr
    done = bash(script, *out, variables=environment)
    assert "--model is needed: the folder of a pre-trained model" in done.stderr
