"""A folder of records of fine-tuned models as Markdown: medians over seeds, and how sure."""

from pathlib import Path
from statistics import mean, median, stdev
from typing import Collection, Dict, Iterable, List, Optional, Sequence, Tuple

from scipy.stats import ttest_ind

from fairseq_floater.files import write_text
from fairseq_floater.results.over_seeds import require_same_training
from fairseq_floater.results.record import Record, read_records
from fairseq_floater.results.report import markdown, require_row
from fairseq_floater.understanding.metrics import METRICS

#: metrics that are listed beside those that make a task's figure
BESIDE = ("exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "best_f1", "best_exact")

Scores = Dict[Tuple[str, str], Dict[str, List[float]]]  #: by (task, test), by row, one a seed


def of_labels(folder: Path) -> bool:
    """Whether the records in a folder are of fine-tuned models; raises as ``read_records``."""
    tests = [test for record in read_records(folder) for test in record.tests.values()]
    return any(name in test for test in tests for name in METRICS)


def report_labels(
    folder: Path,
    out: Path,
    baseline: Optional[str] = None,
    title: str = "",
    seeds: Collection[int] = (),
) -> None:
    """Write ``out``.md.

    A task's figure is the mean of its metrics, as GLUE's is, and of SQuAD F1; its median over seeds
    stands first, then the standard deviation, as in the paper's tables. With a baseline, p is that
    of Welch's two-sided t-test between the seeds of a row and those of the baseline.

    Args:
        folder: of records of one experiment.
        out: path without its ending.
        baseline: the row to test against; none: no test.
        title: of the page; the experiment's name if empty.
        seeds: these alone; none: all.

    Raises:
        UserError: if there are no records, the baseline is not among them, or seeds of a row had
            other commands than one another.
    """
    records = read_records(folder, seeds)
    require_row(records, baseline)
    require_same_training(records)
    scores = _scores(records)
    rows = list(dict.fromkeys(record.row for record in records))
    parts = [f"# {title or records[0].experiment}", _medians(scores, rows)]
    if baseline:
        parts.append(_differences(scores, rows, baseline))
    parts.append(_metrics(records))
    parts.append(_cost(records, rows))
    notes = [f"- trained on: {record.machine}" for record in records if record.machine]
    notes.append(
        "- a cell: median over seeds of the mean of the task's metrics, and of SQuAD F1, "
        "± deviation (seeds)"
    )
    parts.append("\n".join(dict.fromkeys(notes)))
    write_text(out.with_name(out.name + ".md"), "\n\n".join(parts) + "\n")


def _metrics_of(
    record: Record, test: str, names: Iterable[str] = tuple(METRICS)
) -> Dict[str, float]:
    return {name: record.tests[test][name] for name in names if name in record.tests[test]}


def _scores(records: Sequence[Record]) -> Scores:
    scores: Scores = {}
    for record in records:
        for test in record.tests:
            found = scores.setdefault((record.pair, test), {}).setdefault(record.row, [])
            found.append(mean(_metrics_of(record, test).values()))
    return scores


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{median(values):.1f}{deviation} ({len(values)})" if values else ""


def _heading(task: str, test: str) -> str:
    return task if test == "valid" else f"{task} {test}"


def _medians(scores: Scores, rows: Sequence[str]) -> str:
    body = []
    for row in rows:
        found = [by_row.get(row, []) for by_row in scores.values()]
        by_task: Dict[str, List[float]] = {}  # a task with several tests counts once
        for (task, _), values in zip(scores, found):
            by_task.setdefault(task, []).extend([median(values)] if values else [])
        average = f"{mean(map(mean, by_task.values())):.2f}" if all(found) else ""
        body.append([row, *map(_spread, found), average])
    return markdown(["positions", *(_heading(*key) for key in scores), "average"], body)


def _differences(scores: Scores, rows: Sequence[str], baseline: str) -> str:
    """With how many of a row's figures are better, equal and worse, to one decimal."""
    body = []
    for row in rows:
        pairs = [(by_row.get(row, []), by_row.get(baseline, [])) for by_row in scores.values()]
        known = [_gain(*pair) for pair in pairs if all(pair)]
        if row != baseline and known:
            signs = [sum(gain > 0 for gain in known), known.count(0.0)]
            counts = " / ".join(map(str, [*signs, len(known) - sum(signs)]))
            body.append([row, *(_difference(*pair) for pair in pairs), counts])
    columns = [*(_heading(*key) for key in scores), "better / equal / worse"]
    return markdown([f"against {baseline}", *columns], body)


def _gain(values: Sequence[float], base: Sequence[float]) -> float:
    """What medians differ by as they are shown."""
    return round(round(median(values), 1) - round(median(base), 1), 1)


def _difference(values: Sequence[float], base: Sequence[float]) -> str:
    if not values or not base:
        return ""
    text = f"{_gain(values, base):+.1f}"
    if min(len(values), len(base)) < 2 or stdev(values) == stdev(base) == 0.0:
        return text
    return f"{text} (p {ttest_ind(values, base, equal_var=False).pvalue:.2f})"


def _metrics(records: Sequence[Record]) -> str:
    """Every metric of every row, median over seeds."""
    found: Dict[Tuple[str, ...], List[float]] = {}
    for record in records:
        for test in record.tests:
            for name, value in _metrics_of(record, test, (*METRICS, *BESIDE)).items():
                key = (_heading(record.pair, test), record.row, name)
                found.setdefault(key, []).append(value)
    body = [
        [*key, f"{median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}"]
        for key, values in found.items()
    ]
    return markdown(["task", "positions", "metric", "median", "range"], body)


def _cost(records: Sequence[Record], rows: Sequence[str]) -> str:
    body = []
    for row in rows:
        of_row = [record for record in records if record.row == row]
        parameters = {r.training.get("parameters", 0) for r in of_row}
        positions = {sum(r.position_parameters.values()) for r in of_row}
        body.append([row, *(f"{max(numbers):,}" for numbers in (parameters, positions))])
    return markdown(["cost", "parameters", "of positions"], body)
