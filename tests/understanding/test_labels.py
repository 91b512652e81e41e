"""Classes and scores of sentences: training by length, predictions, metrics and tables."""

import json
import random
import re
from types import SimpleNamespace

import numpy
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
from fairseq_floater.results.record import Record
from fairseq_floater.understanding.classes import _outputs, read_predictions
from fairseq_floater.understanding.fine_tuned import FineTuned
from fairseq_floater.understanding.metrics import METRICS, Labelled, measure
from fairseq_floater.understanding.report import of_labels, report_labels

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
    succeed("floater", "report", tmp_path / "results", "--out", tmp_path / "table")
    assert "| positions | rte | average |" in (tmp_path / "table.md").read_text()


def test_metrics_are_those_of_their_definitions():
    labels, predictions = list("1100101101"), list("1010110011")
    pairs = list(zip(predictions, labels))
    tp, fp, fn, tn = (
        pairs.count(pair) for pair in (("1", "1"), ("1", "0"), ("0", "1"), ("0", "0"))
    )
    found = measure(Labelled(predictions, labels), ["accuracy", "f1", "matthews"])
    assert found["accuracy"] == pytest.approx(100 * (tp + tn) / 10)
    assert found["f1"] == pytest.approx(100 * 2 * tp / (2 * tp + fp + fn))
    root = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert found["matthews"] == pytest.approx(100 * (tp * tn - fp * fn) / root)
    x, y = [0.1, 2.0, 3.5, 4.0], [0.0, 2.5, 2.4, 5.0]
    scores = Labelled([str(v) for v in x], [str(v) for v in y])
    found = measure(scores, ["pearson", "spearman"])
    assert found["pearson"] == pytest.approx(100 * numpy.corrcoef(x, y)[0, 1])
    ranks = [[0, 1, 2, 3], [0, 2, 1, 3]]
    assert found["spearman"] == pytest.approx(100 * numpy.corrcoef(*ranks)[0, 1])
    same = Labelled(["1.0"] * 4, scores.labels)
    assert measure(same, ["pearson"]) == {"pearson": 0.0}
    named = Labelled(["yes", "no"], ["yes", "1"])
    with pytest.raises(UserError, match="F1 is for classes 0 and 1, but there is no"):
        measure(named, ["f1"])
    with pytest.raises(UserError, match="a correlation is for scores .*could not convert"):
        measure(named, ["pearson"])
    assert set(METRICS) == {"accuracy", "f1", "matthews", "pearson", "spearman"}


def write_record(folder, row, seed, values, task="rte", order=0):
    record = Record("glue", task, row, order, seed, {}, {"valid": {**values, "rows": 9}}, {})
    record.training["parameters"] = 1000
    record.write(folder)


def test_a_table_has_medians_deviations_and_a_test_over_seeds(tmp_path):
    for seed, (base, ours) in enumerate([(60, 65), (62, 68), (70, 66)], 1):
        write_record(tmp_path, "base", seed, {"accuracy": base, "f1": base + 2.0})
        write_record(tmp_path, "floater", seed, {"accuracy": ours, "f1": ours + 4.0}, order=1)
    write_record(tmp_path, "floater", 1, {"matthews": 50.0}, task="cola", order=1)
    assert of_labels(tmp_path)
    report_labels([tmp_path], tmp_path / "table", "base", "A title")
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "# A title"
    assert "| base |  | 63.0 ± 5.3 (3) |  |" in lines
    assert "| floater | 50.0 (1) | 68.0 ± 1.5 (3) | 59.00 |" in lines
    difference = re.compile(r"\| floater \|  \| \+5.0 \(mean \+3.3, p 0\.\d\d\) \| 1 / 0 / 0 \|")
    assert any(difference.fullmatch(line) for line in lines)
    with pytest.raises(UserError, match="--baseline other is not among the results: choose from"):
        report_labels([tmp_path], tmp_path / "table", "other")
    message = "two of the folders have a result of cola.floater.seed1: leave one of them out"
    with pytest.raises(UserError, match=message):
        report_labels([tmp_path, tmp_path], tmp_path / "table", "base")


def test_figures_are_counted_as_they_are_shown(tmp_path):
    """There is no table of differences as long as no row has anything to be compared with."""
    write_record(tmp_path, "base", 1, {"accuracy": 61.04}, "cola")
    report_labels([tmp_path], tmp_path / "table", "base")
    assert "better / equal / worse" not in (tmp_path / "table.md").read_text()
    for task, base, ours in (("cola", 61.04, 61.06), ("mrpc", 61.06, 61.14), ("rte", 61.1, 61.0)):
        write_record(tmp_path, "base", 1, {"accuracy": base}, task)
        write_record(tmp_path, "floater", 1, {"accuracy": ours}, task)
    report_labels([tmp_path], tmp_path / "table", "base")
    assert "| floater | +0.1 | +0.0 | -0.1 | 1 / 1 / 1 |" in (tmp_path / "table.md").read_text()
    write_record(tmp_path, "base", 2, {"accuracy": 61.1}, "rte")  # one seed more than floater has
    report_labels([tmp_path], tmp_path / "table", "base")
    assert "| floater | +0.1 | +0.0 | -0.1 | 1 / 1 / 0 |" in (tmp_path / "table.md").read_text()


def test_a_task_with_two_tests_counts_once(tmp_path):
    """It counts as the mean over all its rows, which is what is published for RACE."""
    tests = {"valid": {"accuracy": 80.0, "rows": 9}, "valid1": {"accuracy": 70.0, "rows": 18}}
    Record("glue", "mnli", "base", 0, 1, {}, tests, {}).write(tmp_path)
    write_record(tmp_path, "base", 1, {"accuracy": 55.0})
    report_labels([tmp_path], tmp_path / "table")
    assert (
        "| base | 80.0 (1) | 70.0 (1) | 55.0 (1) | 64.17 |" in (tmp_path / "table.md").read_text()
    )


def test_of_questions_about_passages_the_first_test_counts(tmp_path):
    """The others are shown beside it; several folders make one table, with one count."""
    for row, scores in (("base", (60.0, 50.0)), ("floater", (59.0, 55.0))):
        found = ({"f1": f1, "exact": f1, "rows": 9} for f1 in scores)
        tests = dict(zip(("test", "test1"), found))
        Record("squad", "half", row, 0, 1, {}, tests, {}).write(tmp_path / "squad")
    write_record(tmp_path / "glue", "base", 1, {"accuracy": 70.0})
    write_record(tmp_path / "glue", "floater", 1, {"accuracy": 71.0})
    command = ["report", tmp_path / "glue", tmp_path / "squad", "--baseline", "base", "--out"]
    assert cli.main([str(part) for part in [*command, tmp_path / "table"]]) == 0
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("# glue, squad\n")
    assert "| positions | rte | half test | half test1 (beside) | average |" in text
    assert "| floater | 71.0 (1) | 59.0 (1) | 55.0 (1) | 65.00 |" in text
    assert "| floater | +1.0 | -1.0 | +5.0 | 1 / 0 / 1 |" in text
    assert "- beside: not in the average, and not counted" in text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"commands": {"train": "x --lr 1e-4 # corpus 0b"}}, "--lr was 5e-5, then 1e-4"),
        ({"training": {"updates": 80}}, "the number of updates was 90, then 80"),
        (
            {"training": {"updates": 90, "code": ["0a, preloaded: nothing"]}},
            "the library that was preloaded was x.so, then nothing",
        ),
    ],
)
def test_rows_of_another_training_are_refused(change, message, tmp_path):
    known = {
        "commands": {"train": "x --lr 5e-5 # corpus 0a"},
        "training": {"updates": 90, "code": ["0a, preloaded: x.so"]},
    }
    others = {"commands": {"train": "x --lr 5e-5 # corpus 0b"}, "training": known["training"]}
    for row, more in (("base", known), ("floater", {**others, **change}), ("z-lr-1", others)):
        tests = {"valid": {"accuracy": 50.0, "rows": 9}}
        Record("glue", "rte", row, 0, 1, {}, tests, {}, **more).write(tmp_path)
    with pytest.raises(UserError, match=f"rte.base.seed1 and rte.floater.* compared: {message}"):
        report_labels([tmp_path], tmp_path / "table")


MISTAKES = {
    "no file": (["nowhere.pt", "BIN"], "no checkpoint at nowhere.pt"),
    "no set": (
        ["CHECKPOINT", "BIN", "--subset", "dev"],
        "has no dev: choose a split in its input0",
    ),
    "long": (["CHECKPOINT", "BIN", "--max-tokens", 2], "--max-tokens 2 is less than the longest"),
    "another task": (["MODEL", "BIN"], "is of --task masked_lm, which has no classes"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake, tuned, place, tmp_path):
    arguments, message = MISTAKES[mistake]
    places = {
        "BIN": place / "bin",
        "CHECKPOINT": tuned[0] / "checkpoint_last.pt",
        "MODEL": place / "model/model.pt",
    }
    arguments = [places.get(argument, argument) for argument in arguments]
    done = run("floater", "predict", *arguments, "--out", tmp_path / "out.tsv")
    assert done.returncode == 1 and message in done.last_error_line, done.err
    assert not (tmp_path / "out.tsv").exists()


def test_labels_beyond_the_classes_are_refused_before_training(place, tmp_path):
    done = train(place, tmp_path, "--num-classes", 1, *AT_INPUT, updates=1)
    assert done.returncode == 1
    assert "has a label that is not among the --num-classes 1" in done.last_error_line


@pytest.mark.parametrize("text", ["", "index\tprediction\n0\n", "a\tb\n0\t1\n"])
def test_what_is_no_table_of_predictions(text, tmp_path):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(UserError, match="x.tsv is not a table of floater predict"):
        read_predictions(tmp_path / "x.tsv")
    with pytest.raises(UserError, match="no predictions at"):
        read_predictions(tmp_path / "y.tsv")


def test_what_is_measured_and_by_what_go_together(tmp_path, capsys):
    command = ["score-labels", tmp_path, "--name", "a/b/c", "--checkpoint", "x", "--out", tmp_path]
    assert cli.main([*map(str, command), "--tests", "valid"]) == 1
    assert "--tests and --metrics go together" in capsys.readouterr().err
