"""RACE and MCTest: passages with their questions from published files, and mistakes."""

import json
import tarfile

import pytest
from corpora import run, succeeds
from launching import bash
from places import ROOT
from pretrained import write_model

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.data import read_choices

PARTS = [f"{part}/{school}" for part in ("train", "dev", "test") for school in ("middle", "high")]


def race(folder, **changes):
    """Write the files of RACE's archive; ``changes`` are applied to train/high/10.txt."""
    for part in PARTS:
        (folder / part).mkdir(parents=True)
        for number in (10, 9):
            passage = {
                "id": f"{part}{number}",
                "article": f"The fox of {part} {number}.",
                "questions": ["Who?", "The _ jumps."],
                "options": [["fox", "dog", "cat", "owl"]] * 2,
                "answers": ["A", "C"],
            }
            if (part, number) == ("train/high", 10):
                passage.update(changes)
            (folder / part / f"{number}.txt").write_text(json.dumps(passage))
    return folder


def mctest(folder, columns=23):
    """Write one story per part, with questions that need one sentence or several."""
    folder.mkdir(parents=True)
    for part in [f"mc{size}.{split}" for size in (160, 500) for split in ("train", "dev", "test")]:
        asked = ["one: Who?", "fox", "dog", "cat", "owl", "multiple: What: this?", *"abcd"] * 2
        story = [f"{part}.0", "Author: 1", "The fox.\\newline\\newlineIt\\tab jumps.", *asked]
        (folder / f"{part}.tsv").write_text("\t".join(story[:columns]) + "\n")
        (folder / f"{part}.ans").write_text("A\tB\tC\tD\n")
    return folder


def prepare(corpus, folder, out):
    return run("race.py", corpus, folder, "--out", out)


def test_race_by_schools(tmp_path):
    done = succeeds(prepare("race", race(tmp_path / "RACE"), tmp_path / "bin"))
    assert "train: 4 passages, 8 questions\n" in done and "test1: 2 passages" in done
    passages = {
        split: read_choices(tmp_path / f"bin/{split}.jsonl").passages
        for split in ("train", "valid", "test", "test1")
    }
    assert passages["test"] == ["The fox of test/middle 9.", "The fox of test/middle 10."]
    assert all("test/high" in passage for passage in passages["test1"])
    assert [p.split()[3] for p in passages["valid"]] == ["dev/middle"] * 2 + ["dev/high"] * 2


def test_stories_of_mctest(tmp_path):
    succeeds(prepare("mctest", mctest(tmp_path / "there"), tmp_path / "bin"))
    found = read_choices(tmp_path / "bin/train.jsonl")
    assert found.passages == ["The fox. It jumps."] * 2
    assert [question.label for question in found.questions] == [0, 1, 2, 3] * 2
    assert found.questions[1].options[2] == "What: this? c"
    assert len(read_choices(tmp_path / "bin/test1.jsonl").questions) == 4


def test_passages_with_faults_are_left_out_and_named(tmp_path):
    folder = race(tmp_path / "RACE", answers=["A", "E"])
    done = succeeds(prepare("race", folder, tmp_path / "bin"))
    assert "train: 3 passages, 6 questions\n" in done
    assert (
        "1 passages left out, for example: " in done and "train/high/10.txt: the answer 'E'" in done
    )


@pytest.mark.parametrize("mistake", ["folder", "json", "columns", "lengths", "none"])
def test_mistakes_are_one_line(mistake, tmp_path):
    corpus, folder = "mctest", tmp_path / "there"
    if mistake == "folder":
        corpus, message = "race", "has no train/middle/*.txt: unpack the archive of RACE there"
    elif mistake == "json":
        corpus, message = "race", "train/middle/9.txt is not a RACE file"
        (race(folder) / "train/middle/9.txt").write_text("{")
    elif mistake == "columns":
        mctest(folder, columns=22)
        message = "mc500.train.tsv, line 1 has 22 columns, not 23: get it again"
    elif mistake == "lengths":
        (mctest(folder) / "mc500.train.ans").write_text("A\tB\tC\tD\n" * 2)
        message = "mc500.train.tsv and .ans in"
    else:
        message = "mc500.train.tsv: run data-prep/race.sh, which gets it"
    done = prepare(corpus, folder, tmp_path / "bin")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_script_from_a_mirror(tmp_path):
    """MCTest is prepared whole, with its own checksums; another archive of RACE is refused."""
    convert_huggingface(write_model(tmp_path / "there", "bert"), tmp_path / "model/model.pt", {})
    place = "raw.githubusercontent.com/mcobzarenco/mctest/master/data/MCTest"
    mctest(tmp_path / "mirror" / place)
    sums = tmp_path / "sums"
    names = f"{place}/*"
    bash("-c", f"cd {tmp_path}/mirror && sha256sum {names} >{sums}")
    archive = tmp_path / "mirror/www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(race(tmp_path / "RACE"), "RACE")
    command = [ROOT / "data-prep/race.sh", "--model", tmp_path / "model", "--checksums", sums]
    mirror = {"DATA_MIRROR": tmp_path / "mirror"}
    done = bash(*command, "--corpus", "mctest", "--out", tmp_path / "out", variables=mirror)
    assert done.returncode == 0, done.stderr
    assert "train: 2 passages, 8 questions" in done.stdout
    assert {"train.jsonl", "dict.txt"} <= {path.name for path in (tmp_path / "out/bin").iterdir()}
    done = bash(*command, "--corpus", "race", "--out", tmp_path / "race", variables=mirror)
    assert done.returncode == 1 and "RACE.tar.gz has sha256" in done.stderr
