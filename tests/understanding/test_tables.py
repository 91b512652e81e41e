"""Metrics of classes and scores, and tables of them: medians, differences, what is counted."""

import re

import numpy
import pytest
from scipy.stats import ttest_ind

from fairseq_floater import cli
from fairseq_floater.errors import UserError
from fairseq_floater.results.record import Record
from fairseq_floater.understanding.metrics import METRICS, Labelled, measure
from fairseq_floater.understanding.report import of_labels, report_labels


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


def test_predictions_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="is no finite number: the training diverged"):
        measure(Labelled(["1", "nan"], ["1", "2"]), ["pearson"])


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
    assert r"| floater | 50.0 (1) \* | 68.0 ± 1.5 (3) | 59.00 \* |" in lines
    assert r"- \* fewer than 3 seeds: decides nothing, and is not counted" in lines
    p = r"\(mean \+3.3, p 0\.\d\d\)"
    difference = re.compile(rf"\| floater \|  \| \+5.0 {p} \|  \| 1 / 0 / 0 \|")
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
    figures = (("cola", 61.04, 61.06), ("mrpc", 61.06, 61.14), ("rte", 61.1, 61.0))
    line = "| floater | +0.1 | +0.0 | -0.1 | +0.0 |"
    few = line.replace(" |", r" \* |").replace(r"floater \*", "floater")
    for seed, wanted in (
        (1, f"{few} 0 / 0 / 0 |"),
        (2, f"{few} 0 / 0 / 0 |"),
        (3, f"{line} 1 / 1 / 1 |"),
    ):
        for task, base, ours in figures:
            write_record(tmp_path, "base", seed, {"accuracy": base}, task)
            write_record(tmp_path, "floater", seed, {"accuracy": ours}, task)
        report_labels([tmp_path], tmp_path / "table", "base")
        assert wanted in (tmp_path / "table.md").read_text()
    write_record(tmp_path, "base", 4, {"accuracy": 61.1}, "rte")  # one seed more than floater has
    report_labels([tmp_path], tmp_path / "table", "base")
    assert f"{line} 1 / 1 / 0 |" in (tmp_path / "table.md").read_text()


def test_the_average_is_tested_over_the_seeds_that_have_all_tasks(tmp_path):
    figures = {"base": ([60, 62, 67, 70], [80, 81, 84]), "ours": ([64, 63, 72], [82, 86, 83])}
    for row, (rte, cola) in figures.items():
        for task, values in (("rte", rte), ("cola", cola)):
            for seed, value in enumerate(values, 1):
                write_record(tmp_path, row, seed, {"accuracy": value}, task)
    report_labels([tmp_path], tmp_path / "table", "base")
    base, ours = [70.0, 71.5, 75.5], [73.0, 74.5, 77.5]
    p = ttest_ind(ours, base, equal_var=False).pvalue
    wanted = f"+3.0 (mean +2.7, p {p:.2f})"
    (line,) = re.findall(r"\| ours \|.*\(mean.*", (tmp_path / "table.md").read_text())
    assert line.split("|")[4].strip() == wanted


def test_a_task_with_two_tests_counts_once(tmp_path):
    """It counts as the mean over all its rows, which is what is published for RACE."""
    tests = {"valid": {"accuracy": 80.0, "rows": 9}, "valid1": {"accuracy": 70.0, "rows": 18}}
    Record("glue", "mnli", "base", 0, 1, {}, tests, {}).write(tmp_path)
    write_record(tmp_path, "base", 1, {"accuracy": 55.0})
    report_labels([tmp_path], tmp_path / "table")
    line = r"| base | 80.0 (1) \* | 70.0 (1) \* | 55.0 (1) \* | 64.17 \* |"
    assert line in (tmp_path / "table.md").read_text()


def test_of_questions_about_passages_the_first_test_counts(tmp_path):
    """The others are shown beside it; several folders make one table, with one count."""
    for seed in (1, 2, 3):
        for row, scores in (("base", (60.0, 50.0)), ("floater", (59.0, 55.0))):
            found = ({"f1": f1, "exact": f1, "rows": 9} for f1 in scores)
            tests = dict(zip(("test", "test1"), found))
            Record("squad", "half", row, 0, seed, {}, tests, {}).write(tmp_path / "squad")
        write_record(tmp_path / "glue", "base", seed, {"accuracy": 70.0})
        write_record(tmp_path / "glue", "floater", seed, {"accuracy": 71.0})
    command = ["report", tmp_path / "glue", tmp_path / "squad", "--baseline", "base", "--out"]
    assert cli.main([str(part) for part in [*command, tmp_path / "table"]]) == 0
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("# glue, squad\n")
    assert "| positions | rte | half test | half test1 (beside) | average |" in text
    assert "| floater | 71.0 ± 0.0 (3) | 59.0 ± 0.0 (3) | 55.0 ± 0.0 (3) | 65.00 |" in text
    assert "| floater | +1.0 | -1.0 | +5.0 | +0.0 | 1 / 0 / 1 |" in text
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


def test_figures_of_other_metrics_are_not_compared(tmp_path):
    for row, values in (("base", {"accuracy": 80.0, "f1": 86.0}), ("ours", {"accuracy": 80.0})):
        Record("glue", "mrpc", row, 0, 1, {}, {"valid": values}, {}).write(tmp_path)
    message = "on valid one has accuracy, f1, the other accuracy: score both"
    with pytest.raises(UserError, match=message):
        report_labels([tmp_path], tmp_path / "out", "base")


def test_records_of_translation_among_them_are_named(tmp_path):
    write_record(tmp_path, "base", 1, {"accuracy": 60.0})
    write_record(tmp_path, "ours", 1, {"bleu": 30.0})
    with pytest.raises(UserError, match="rte.ours.seed1 has none of the metrics of fine-tuned"):
        report_labels([tmp_path], tmp_path / "table")
