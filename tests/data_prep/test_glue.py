"""GLUE: plain text from published files, what is refused, and a whole preparation."""

import hashlib
import json
import shutil
import zipfile

import glue
import pytest
from corpora import run, succeeds
from fairseq.data import Dictionary, data_utils
from launching import bash
from places import ROOT
from pretrained import write_model

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.data import PieceTokenizer

RTE = [
    ("train.tsv", "index\tsentence1\tsentence2\tlabel", 3),
    ("dev.tsv", "index\tsentence1\tsentence2\tlabel", 2),
    ("test.tsv", "index\tsentence1\tsentence2", 2),
]


def rte(folder, change=lambda name, rows: rows):
    """Write a zip like RTE's."""
    archive = folder / "RTE.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, header, count in RTE:
            label = "" if name == "test.tsv" else "\tentailment"
            rows = [f'{n}\tA "dog" {n}.\tA  cat {n}.{label}' for n in range(count)]
            zipped.writestr(f"RTE/{name}", "\n".join([header, *change(name, rows)]) + "\n")
    return archive


def prepare(task, published, out, *options):
    return run("glue.py", task, "--published", published, "--out", out, *options)


def test_inputs_and_labels_are_written_row_for_row(tmp_path):
    done = succeeds(prepare("rte", rte(tmp_path), tmp_path / "raw", "--other-files"))
    assert "train: 3 rows (entailment 3)" in done and "test: 2 rows\n" in done
    texts = {path.name: path.read_text() for path in (tmp_path / "raw").iterdir()}
    assert texts["train.input0"] == 'A "dog" 0.\nA "dog" 1.\nA "dog" 2.\n'
    assert texts["train.input1"].startswith("A cat 0.\n")
    assert texts["valid.label"] == "entailment\n" * 2 and "test.label" not in texts
    assert json.loads(texts["report.json"])["valid"]["rows"] == 2


def test_files_that_are_not_the_published_ones(tmp_path):
    wanted = "RTE.zip/train.tsv has md5"
    assert wanted in prepare("rte", rte(tmp_path), tmp_path / "raw").stderr
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    done = prepare("rte", tmp_path / "bad.zip", tmp_path / "raw")
    assert done.returncode == 1 and "bad.zip is damaged" in done.stderr
    (tmp_path / "empty").mkdir()
    done = prepare("rte", tmp_path / "empty", tmp_path / "raw")
    assert "empty has no train.tsv: get it from its publisher" in done.stderr


def test_rows_of_another_width_are_named(tmp_path):
    def change(name, rows):
        return [*rows, "9\tone column", *rows] if name == "train.tsv" else rows

    done = succeeds(prepare("rte", rte(tmp_path, change), tmp_path / "raw", "--other-files"))
    assert "train: 1 left out for their number of columns, lines 5" in done
    assert "train: 6 rows" in done


def test_rows_that_are_held_out_are_of_train(tmp_path):
    """What is left out of the published valid, which is not used, does not count."""

    def change(name, rows):
        return rows if name == "test.tsv" else [*rows, "9\tone column"]

    more = ["--other-files", "--hold-out", 3]
    done = succeeds(prepare("rte", rte(tmp_path, change), tmp_path / "raw", *more))
    assert "train: 2 rows" in done and "valid: 1 rows" in done
    assert done.count("left out") == 1 and "train: 1 left out" in done


@pytest.mark.parametrize(
    "name, label, message",
    [
        ("train.tsv", "maybe", "train.tsv, line 4: its label is 'maybe', not one of entailment"),
        ("dev.tsv", "not_entailment", "no training row has the label not_entailment"),
    ],
)
def test_labels_that_the_task_does_not_have(name, label, message, tmp_path):
    def change(file, rows):
        return [*rows[:-1], rows[-1].replace("entailment", label)] if file == name else rows

    done = prepare("rte", rte(tmp_path, change), tmp_path / "raw", "--other-files")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--hold-out", "--train-rows"])
def test_numbers_of_rows_are_not_negative(option, tmp_path):
    done = prepare("rte", rte(tmp_path), tmp_path / "raw", "--other-files", option, -5)
    assert done.returncode == 2 and f"argument {option}: '-5' is not int from 0" in done.stderr


def test_scores_are_a_fifth(tmp_path):
    folder = tmp_path / "STS-B"
    folder.mkdir()
    for name, columns in (("train.tsv", 10), ("dev.tsv", 10), ("test.tsv", 9)):
        row = [f"c{number}" for number in range(columns)]
        rows = [row, [*row[:9], "2.5"] if columns == 10 else row]
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows))
    succeeds(prepare("sts-b", folder, tmp_path / "raw", "--other-files"))
    assert (tmp_path / "raw/train.label").read_text() == "0.5\n"
    assert (tmp_path / "raw/test.input1").read_text() == "c8\n"
    text = (folder / "dev.tsv").read_text()
    (folder / "dev.tsv").write_text(text.replace("2.5", "5.5"))
    done = prepare("sts-b", folder, tmp_path / "raw", "--other-files")
    assert "dev.tsv, line 2: its score is '5.5', not a number from 0 to 5" in done.stderr


def mrpc(folder):
    """Write what MRPC is made from, laid out as a DATA_MIRROR, with its list of checksums."""
    glue_place = folder / "dl.fbaipublicfiles.com/glue/data"
    place = folder / "dl.fbaipublicfiles.com/senteval/senteval_data"
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    rows = [f"{n % 2}\t{n}\t{n + 100}\tthe lazy dog {n} .\tfoxes jump {n} ." for n in range(9)]
    for path, lines in {
        place / "msr_paraphrase_train.txt": [header, *rows],
        place / "msr_paraphrase_test.txt": [header, *rows[:3]],
        glue_place / "mrpc_dev_ids.tsv": ["2\t102", "5\t105"],
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in sorted(folder.rglob("*.t*"))
    ]
    (folder / "sums").write_text("".join(sums))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A pre-trained model, and MRPC prepared for it."""
    folder = tmp_path_factory.mktemp("glue")
    convert_huggingface(write_model(folder / "there", "bert"), folder / "model/model.pt", {})
    mirror = mrpc(folder / "mirror")
    options = ["--task", "mrpc", "--model", folder / "model", "--checksums", mirror / "sums"]
    command = [ROOT / "data-prep/glue.sh", *options, "--out", folder / "data", "--workers", 1]
    done = bash(*command, variables={"DATA_MIRROR": mirror})
    assert done.returncode == 0, done.stderr
    return folder, command, mirror, done


def test_mrpc_is_split_as_glue_does_and_binarised(prepared):
    folder, _, _, done = prepared
    assert "train: 7 rows (0 4, 1 3)" in done.stdout and "valid: 2 rows" in done.stdout
    assert (folder / "data/raw/valid.input0").read_text() == "the lazy dog 2 .\nthe lazy dog 5 .\n"
    dictionary = Dictionary.load(str(folder / "data/bin/input0/dict.txt"))
    rows = data_utils.load_indexed_dataset(str(folder / "data/bin/input0/valid"), dictionary)
    tokenizer = PieceTokenizer(folder / "model/tokenizer.json")
    pieces = [piece.name for piece in tokenizer.pieces("the lazy dog 5 .")]
    assert dictionary.string(rows[1]).split() == pieces and len(rows) == 2
    labels = Dictionary.load(str(folder / "data/bin/label/dict.txt"))
    assert labels.symbols[labels.nspecial :] == ["0", "1"]


def test_a_dictionary_of_another_model_is_refused(prepared, tmp_path):
    """With it, all text would be unknown."""
    folder, command, mirror, _ = prepared
    shutil.copy(folder / "model/tokenizer.json", tmp_path)
    (tmp_path / "dict.txt").write_text("".join(f"{number} 1\n" for number in range(99)))
    options = ["--model", tmp_path, "--out", tmp_path / "data"]
    done = bash(*command, *options, variables={"DATA_MIRROR": mirror})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"error: pieces: {tmp_path}/dict.txt has 0 of the 85 pieces of " in done.stderr
    (tmp_path / "dict.txt").write_bytes(b"one 1\n\xff 1\n")
    done = bash(*command, *options, variables={"DATA_MIRROR": mirror})
    assert done.returncode == 1 and f"{tmp_path}/dict.txt, line 2, byte 1: not UTF-8" in done.stderr


def test_what_is_done_is_not_done_again(prepared):
    _, command, mirror, _ = prepared
    again = bash(*command, variables={"DATA_MIRROR": mirror})
    assert again.returncode == 0 and again.stdout.count("unchanged, skipped") == 3


def test_training_rows_are_held_out_for_choosing(prepared):
    """They replace the development set, row for row in every file."""
    folder, command, mirror, _ = prepared
    out = folder / "held out"
    more = ["--hold-out", 3, "--out", out]
    done = bash(*command, *more, variables={"DATA_MIRROR": mirror})
    assert done.returncode == 0, done.stderr
    assert "train: 5 rows (0 4, 1 1)\nvalid: 2 rows (1 2)" in done.stdout
    for part in ("input0", "input1", "label"):
        rows = (folder / f"data/raw/train.{part}").read_text().splitlines()
        found = {s: (out / f"raw/{s}.{part}").read_text().splitlines() for s in ("train", "valid")}
        assert found["valid"] == rows[2::3] and len(found["valid"]) == 2
        assert found["train"] == [row for n, row in enumerate(rows, 1) if n % 3]
    done = bash(*command, "--hold-out", 8, "--out", out, variables={"DATA_MIRROR": mirror})
    assert done.returncode == 1 and "--hold-out 8 holds out none of the 7 rows" in done.stderr
    # The classes are the same although another label is the most frequent one.
    classes = [(place / "bin/label/dict.txt").read_text() for place in (folder / "data", out)]
    assert classes[0] == classes[1]
    dictionary = Dictionary.load(str(out / "bin/input0/dict.txt"))
    assert len(data_utils.load_indexed_dataset(str(out / "bin/input0/valid"), dictionary)) == 2


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hold-out", 1], "--hold-out 1 leaves no row to train on: use 2 or more"),
        (["--task", "wnli"], "--task must be one of cola sst-2"),
        (["--task", "rte"], "--model is needed"),
        (["--task", "rte", "--model", "nowhere"], "--model nowhere has no dict.txt"),
    ],
)
def test_options_are_checked_first(options, message):
    done = bash(ROOT / "data-prep/glue.sh", *options)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_every_task_of_glue_is_there():
    wanted = {"cola", "sst-2", "mrpc", "qqp", "sts-b", "mnli", "qnli", "rte"}
    assert set(glue.TASKS) == wanted
    assert list(glue.TASKS["mnli"].files) == ["train", "valid", "valid1", "test", "test1"]
