"""Classes and scores of sentences: training by length, predictions, and what is refused."""

import json
import random
import re
from types import SimpleNamespace

import pytest
import torch
from commands import COMMON
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from fairseq.data import Dictionary
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from launching import run, succeed
from places import TESTS
from pretrained import AS_IT_WAS, INNER, LAYERS, LINES, POSITIONS, WIDTH, write_model

from fairseq_floater import cli
from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.data import PieceTokenizer
from fairseq_floater.errors import UserError
from fairseq_floater.results.scores import digest
from fairseq_floater.understanding.classes import _outputs, read_predictions
from fairseq_floater.understanding.fine_tuned import FineTuned
from fairseq_floater.understanding.metrics import measure

ROWS = {"train": 40, "valid": 14, "test": 6}
TASK = ["--task", "floater_sentence_prediction", "--criterion", "sentence_prediction"]
ENDS = ["--init-token", 0, "--separator-token", 2, "--max-positions", POSITIONS]
SIZES = {"layers": LAYERS, "embed-dim": WIDTH, "ffn-embed-dim": INNER, "attention-heads": 2}
SHAPE = [part for name, size in SIZES.items() for part in (f"--encoder-{name}", size)]
ARCH = ["--arch", "floater_roberta", *SHAPE, "--layer-norm-eps", 0.01]
AT_INPUT = ["--position-encoder", "learned", "--position-blocks", "input"]


def write_rows(folder, tokenizer):
    """Write pairs: the second is the first word of the first (class ``1``) or is not (``0``)."""
    generator, words = random.Random(0), " ".join(LINES[:2]).split()
    for split, count in ROWS.items():
        lines = {"input0": [], "input1": [], "label": [], "score": []}
        for number in range(count):
            first = generator.sample(words, generator.randint(2, 7))
            same = number % 3 > 0  # most are of class 1
            other = first[0] if same else generator.choice([w for w in words if w != first[0]])
            lines["input0"].append(first)
            lines["input1"].append([other])
            lines["label"].append([str(int(same))])
            lines["score"].append([str(same / 2 + generator.random() / 10)])
        for name, rows in lines.items():
            if name.startswith("input"):
                rows = [[p.name for p in tokenizer.pieces(" ".join(row))] for row in rows]
            text = "".join(" ".join(row) + "\n" for row in rows)
            (folder / f"{split}.{name}").write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pre-trained model, and rows for it, with classes in ``bin`` and scores in ``scores``."""
    folder = tmp_path_factory.mktemp("labels")
    converted = write_model(folder / "there", "bert")
    convert_huggingface(converted, folder / "model/model.pt", AS_IT_WAS)
    write_rows(folder, PieceTokenizer(folder / "model/tokenizer.json"))
    for part in ("input0", "input1", "label"):
        known = [] if part == "label" else ["--srcdict", folder / "model/dict.txt"]
        tests = [] if part == "label" else ["--testpref", folder / f"test.{part}"]
        succeed(
            *("preprocess", "--only-source", *known, *tests, "--destdir", folder / "bin" / part),
            *("--trainpref", folder / f"train.{part}", "--validpref", folder / f"valid.{part}"),
        )
    (folder / "scores/label").mkdir(parents=True)
    for part in ("input0", "input1"):
        (folder / "scores" / part).symlink_to(folder / "bin" / part)
    for split in ("train", "valid"):
        text = (folder / f"{split}.score").read_text()
        (folder / f"scores/label/{split}.label").write_text(text)
    return folder


def train(place, save, *options, data="bin", updates=30):
    command = [
        *("train", place / data, *COMMON, *TASK, *ENDS, *ARCH, "--batch-size", 8),
        *("--optimizer", "adam", "--lr", 0.003, "--max-update", updates, "--log-interval", 1),
        *("--no-epoch-checkpoints", "--validate-interval", 99, "--save-interval", 99),
        *("--finetune-from-model", place / "model/model.pt", "--save-dir", save, *options),
    ]
    done = run(*command)
    (save / "train.log").parent.mkdir(exist_ok=True)
    (save / "train.log").write_text(done.out)
    return done


@pytest.fixture(scope="module")
def tuned(place, tmp_path_factory):
    """FLOATER beside the model's own table, fine-tuned on the classes."""
    save = tmp_path_factory.mktemp("tuned")
    done = train(place, save, "--num-classes", 2)
    assert done.returncode == 0, done.err
    return save, done


def test_batches_are_of_one_length_and_training_learns(tuned, place):
    """An epoch has only a few pads beside the tokens of the data."""
    _, done = tuned
    losses = done.losses()
    assert sum(losses[-5:]) < sum(losses[:5])
    by_length = padded(place, "floater_sentence_prediction")
    assert by_length < 1.1 < 1.2 < padded(place, "sentence_prediction")


def padded(place, name):
    """Return the ratio of tokens with pads to those without, in an epoch with batches of 8."""
    options = {"data": str(place / "bin"), "num_classes": 2, "init_token": 0, "separator_token": 2}
    cfg = TASK_DATACLASS_REGISTRY[name](**options)
    cfg.seed, cfg.regression_target, cfg.classification_head_name = 1, False, "head"
    task = TASK_REGISTRY[name].setup_task(cfg)
    task.load_dataset("train")
    batches = task.get_batch_iterator(task.dataset("train"), max_sentences=8).next_epoch_itr()
    shapes = [(s["net_input"]["src_tokens"].numel(), int(s["ntokens"])) for s in batches]
    return sum(size for size, _ in shapes) / sum(tokens for _, tokens in shapes)


@pytest.mark.parametrize("reported", ["report_mcc", "report_acc_and_f1", None])
def test_lists_of_predictions_are_not_added_up(reported):
    """fairseq's own task has them added up over several GPUs, and its trainer then fails."""
    cfg = SentencePredictionConfig(**({reported: True} if reported else {}))
    task = SimpleNamespace(source_dictionary=Dictionary(), label_dictionary=Dictionary())
    criterion = SentencePredictionCriterion(cfg, task)
    ours = TASK_REGISTRY["floater_sentence_prediction"]
    assert ours.logging_outputs_can_be_summed(criterion) == (reported is None)


def test_several_scores_a_row_are_no_table():
    """They come from a head with two regression targets, which fairseq can train."""
    task = SimpleNamespace(
        cfg=SimpleNamespace(regression_target=True, classification_head_name="head")
    )
    tuned = FineTuned(lambda **given: (torch.zeros(3, 2), None), task)
    with pytest.raises(UserError, match="this model has 2 scores per row, but a table"):
        _outputs(tuned, {"net_input": {}})


def test_predictions_have_the_names_of_the_classes(tuned, place, tmp_path):
    """Class 0 is the most frequent label, ``1``; rows are in the order of the data."""
    save, _ = tuned
    out = tmp_path / "valid.tsv"
    command = ["floater", "predict", save / "checkpoint_last.pt", place / "bin"]
    succeed(*command, "--out", out)
    dictionary = Dictionary.load(str(place / "bin/label/dict.txt"))
    assert dictionary[dictionary.nspecial] == "1"
    found = read_predictions(out)
    assert found.labels == (place / "valid.label").read_text().split()
    assert set(found.predictions) <= {"0", "1"}
    accuracy = measure(found, ["accuracy"])["accuracy"]
    logged = re.findall(
        r"valid on 'valid' subset.*accuracy ([\d.]+)", (save / "train.log").read_text()
    )
    assert accuracy == pytest.approx(float(logged[-1]), abs=0.06)
    succeed(TESTS / "pretended_gpu.py", *command, "--out", tmp_path / "gpu.tsv")
    assert read_predictions(tmp_path / "gpu.tsv").predictions == found.predictions
    succeed(*command, "--out", tmp_path / "small.tsv", "--max-tokens", 20)
    assert (tmp_path / "small.tsv").read_text() == out.read_text()
    succeed(*command, "--out", tmp_path / "test.tsv", "--subset", "test")
    header, *rows = (tmp_path / "test.tsv").read_text().splitlines()
    assert header == "index\tprediction" and len(rows) == ROWS["test"]  # the format that GLUE takes


def test_scores_and_their_correlations(place, tmp_path):
    regression = ["--num-classes", 1, "--regression-target", "--report-pearson-and-spearman"]
    regression += ["--best-checkpoint-metric", "pearson", "--maximize-best-checkpoint-metric"]
    done = train(place, tmp_path / "run", *regression, *AT_INPUT, data="scores", updates=12)
    assert done.returncode == 0, done.err
    out = tmp_path / "valid.tsv"
    checkpoint = tmp_path / "run/checkpoint_last.pt"
    succeed("floater", "predict", checkpoint, place / "scores", "--out", out, "--factor", 5)
    found = read_predictions(out)
    wanted = [5 * float(text) for text in (place / "valid.score").read_text().split()]
    assert [float(text) for text in found.labels] == pytest.approx(wanted, abs=1e-4)
    logged = dict(re.findall(r"\b(pearson|spearman) (-?[\d.]+)", done.out.split("valid on")[-1]))
    for name, value in measure(found, ["pearson", "spearman"]).items():
        assert value == pytest.approx(float(logged[name]), abs=0.1)


def test_the_record_of_a_run_and_its_table(tuned, place, tmp_path):
    save, _ = tuned
    checkpoint = save / "checkpoint_last.pt"
    succeed("floater", "predict", checkpoint, place / "bin", "--out", save / "predict.valid.tsv")
    command = ["floater", "score-labels", save, "--name", "glue/rte/floater", "--tests", "valid"]
    metrics = ["--metrics", "accuracy,f1,matthews", "--checkpoint", checkpoint]
    done = succeed(*command, *metrics, "--out", tmp_path / "results")
    assert f"of {ROWS['valid']} rows" in done.out and "matthews" in done.out
    assert "classification_heads" not in done.err  # which scoring does not need
    record = json.loads((tmp_path / "results/rte.floater.seed1.json").read_text())
    assert record["training"]["updates"] == 30
    assert record["position_parameters"]["initial values"] == LAYERS * 3 * WIDTH
    labels = (place / "valid.label").read_text().split()
    assert record["tests"]["valid"]["references"] == digest(labels)
    succeed("floater", "report", tmp_path / "results", "--out", tmp_path / "table")
    assert "| positions | rte | average |" in (tmp_path / "table.md").read_text()


MISTAKES = {
    "no file": (["nowhere.pt", "BIN"], "no checkpoint at nowhere.pt"),
    "no set": (
        ["CHECKPOINT", "BIN", "--subset", "dev"],
        "has no dev: choose a split in its input0",
    ),
    "long": (["CHECKPOINT", "BIN", "--max-tokens", 2], "--max-tokens 2 is less than the longest"),
    "no set, of fairseq's task": (["STOCK", "BIN", "--subset", "dev"], "has no dev: choose a"),
    "another task": (["MODEL", "BIN"], "is of --task masked_lm, which has no classes"),
    "itself": (["CHECKPOINT", "BIN", "--out", "CHECKPOINT"], "would be overwritten by what is"),
    "another order": (
        ["CHECKPOINT", "OTHER"],
        "other has the labels 0, 1, but the training had 1, 0, in this order: give",
    ),
    "a long row": (
        ["CHECKPOINT", "LONG"],
        "row 1 of valid has 35 pieces, but the model has 24 positions: give --truncate",
    ),
    "a long row, such as the training cut": (
        ["CUTTING", "LONG"],
        "row 1 of valid has 35 pieces, but the model has 24 positions: give --truncate",
    ),
}


@pytest.fixture(scope="module")
def others(tuned, place, tmp_path_factory):
    """Data with the classes in another order, data with rows that are too long, and checkpoints.

    These are as if of fairseq's own task, and of a training that cut such rows.
    """
    folder = tmp_path_factory.mktemp("others")
    (folder / "sorted.txt").write_text("0 1\n1 1\n")
    pieces = (place / "valid.input0").read_text().splitlines()
    (folder / "valid.input0").write_text(f"{' '.join(['the'] * 30)}\n" + "\n".join(pieces[1:]))
    known = ["--srcdict", place / "model/dict.txt", "--validpref"]
    for made, flags in (
        ("other/label", ["--srcdict", folder / "sorted.txt", "--validpref", place / "valid.label"]),
        ("long/input0", [*known, folder / "valid.input0"]),
    ):
        succeed("preprocess", "--only-source", *flags, "--destdir", folder / made)
    for name, option, value in (
        ("stock", "_name", "sentence_prediction"),
        ("cutting", "shorten_method", "truncate"),
    ):
        state = torch.load(tuned[0] / "checkpoint_last.pt")
        state["cfg"]["task"][option] = value
        torch.save(state, folder / f"{name}.pt")
    for link in ("other/input0", "other/input1", "long/input1", "long/label"):
        (folder / link).symlink_to(place / "bin" / link.rpartition("/")[2])
    return folder


def test_long_rows_are_cut_if_asked(tuned, place, others, tmp_path):
    """The other rows get what they get anyway."""
    found = {}
    for data in (place / "bin", others / "long"):
        command = ["floater", "predict", tuned[0] / "checkpoint_last.pt", data, "--truncate"]
        succeed(*command, "--out", tmp_path / "out.tsv")
        found[data.name] = read_predictions(tmp_path / "out.tsv").predictions
    assert found["long"][1:] == found["bin"][1:] and found["long"][0] in ("0", "1")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake, tuned, place, others, tmp_path):
    arguments, message = MISTAKES[mistake]
    places = {
        "BIN": place / "bin",
        "OTHER": others / "other",
        "LONG": others / "long",
        "STOCK": others / "stock.pt",
        "CUTTING": others / "cutting.pt",
        "CHECKPOINT": tuned[0] / "checkpoint_last.pt",
        "MODEL": place / "model/model.pt",
    }
    arguments = [places.get(argument, argument) for argument in arguments]
    done = run("floater", "predict", "--out", tmp_path / "out.tsv", *arguments)
    assert done.returncode == 1 and message in done.last_error_line, done.err
    assert not (tmp_path / "out.tsv").exists()


def test_labels_beyond_the_classes_are_refused_before_training(place, tmp_path):
    done = train(place, tmp_path, "--num-classes", 1, *AT_INPUT, updates=1)
    assert done.returncode == 1
    assert "has a label that is not among the --num-classes 1" in done.last_error_line


@pytest.mark.parametrize("count", [0, 2])
def test_a_row_with_no_label_or_two_is_named(count, place, tmp_path):
    lines = (place / "train.label").read_text().splitlines()
    lines[4] = " ".join(lines[:count])
    (tmp_path / "train.label").write_text("\n".join(lines) + "\n")
    for part in ("input0", "input1"):
        (tmp_path / part).symlink_to(place / "bin" / part)
    known = ["--srcdict", place / "bin/label/dict.txt", "--trainpref", tmp_path / "train.label"]
    succeed("preprocess", "--only-source", *known, "--destdir", tmp_path / "label")
    done = train(place, tmp_path / "run", "--num-classes", 2, *AT_INPUT, data=tmp_path)
    assert done.returncode == 1
    assert f"row 5 of train in {tmp_path} has {count} labels" in done.last_error_line


@pytest.mark.parametrize(
    "text", [b"", b"index\tprediction\n0\n", b"a\tb\n0\t1\n", b"index\tprediction\n0\t\xff\n"]
)
def test_what_is_no_table_of_predictions(text, tmp_path):
    (tmp_path / "x.tsv").write_bytes(text)
    with pytest.raises(UserError, match="x.tsv is not a table of floater predict"):
        read_predictions(tmp_path / "x.tsv")
    with pytest.raises(UserError, match="no predictions at"):
        read_predictions(tmp_path / "y.tsv")


def test_what_is_measured_and_by_what_go_together(tmp_path, capsys):
    command = ["score-labels", tmp_path, "--name", "a/b/c", "--checkpoint", "x", "--out", tmp_path]
    assert cli.main([*map(str, command), "--tests", "valid"]) == 1
    assert "--tests and --metrics go together" in capsys.readouterr().err


def test_a_further_column_hides_no_labels(tmp_path):
    (tmp_path / "x.tsv").write_text("index\tprediction\tlabel\tnote\n0\tyes\tno\tlong\n")
    assert read_predictions(tmp_path / "x.tsv") == (["yes"], ["no"])
