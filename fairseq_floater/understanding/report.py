"""Report fine-tuned models as Markdown: medians over seeds, and how certain they are."""

from pathlib import Path
from statistics import fmean, mean, median, stdev
from typing import Collection, Container, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from scipy.stats import ttest_ind

from fairseq_floater.errors import UserError
from fairseq_floater.results.over_seeds import FEWEST, require_alike, require_same_training
from fairseq_floater.results.page import MARK, markdown, require_row, write_page
from fairseq_floater.results.record import Record, read_records
from fairseq_floater.understanding.metrics import METRICS

#: metrics that are listed beside those that make up a task's figure
BESIDE = ("exact", "HasAns_f1", "HasAns_exact", "NoAns_f1", "best_f1", "best_exact")

Key = Tuple[str, str]  #: (task, test)
Keys = List[Key]
Scores = Dict[Key, Dict[str, List[float]]]  #: by row, one per seed
Weights = Dict[Key, float]


def of_labels(folder: Path) -> bool:
    """True if the records in a folder are of fine-tuned models; raises as ``read_records`` does."""
    tests = [test for record in read_records(folder) for test in record.tests.values()]
    return any(name in test for test in tests for name in METRICS)


def report_labels(
    folders: Sequence[Path],
    out: Path,
    baseline: Optional[str] = None,
    title: str = "",
    seeds: Collection[int] = (),
) -> None:
    """Write ``out``.md.

    A task's figure is the mean of its metrics, as in GLUE, and F1 for SQuAD. Its median over seeds
    comes first, then the standard deviation, as in the paper's tables. For questions about
    passages, the first test counts, and others stand beside it. With a baseline, p is that of
    Welch's two-sided t-test between the seeds of a row and those of the baseline.

    Args:
        folders: folders of records, one per experiment.
        out: path without its ending.
        baseline: the row to test against; no test if None.
        title: title of the page; the experiment's name if empty.
        seeds: use only these seeds; all if empty.

    Raises:
        UserError: if there are no records, a run is in two folders, the baseline is not among the
            records, the commands of a row's seeds differ, or the rates, lengths or libraries of a
            task's rows do.
    """
    records = [record for folder in folders for record in read_records(folder, seeds)]
    names = [record.name for record in records]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two of the folders have a result of {twice}: leave one of them out")
    require_row(records, baseline)
    require_same_training(records)
    for task in dict.fromkeys(record.pair for record in records):
        require_alike([record for record in records if record.pair == task], corpus=False)
    scores, counted = _scores(records), _counted(records)
    _require_same_metrics(records)
    weights = _weights(records, counted)
    rows = list(dict.fromkeys(record.row for record in records))
    experiments = ", ".join(dict.fromkeys(record.experiment for record in records))
    parts = [f"# {title or experiments}", _medians(scores, rows, weights)]
    if baseline:
        averages = _averages(records, weights)
        parts.append(_differences(scores, averages, rows, counted, baseline))
    parts.append(_metrics(records))
    parts.append(_cost(records, rows))
    notes = [f"- trained on: {record.machine}" for record in records if record.machine]
    if MARK in "".join(parts):
        notes.append(f"- {MARK} fewer than {FEWEST} seeds: decides nothing, and is not counted")
    notes.append(
        "- a cell: median over seeds of the mean of the task's metrics (F1 for SQuAD), "
        "± deviation (seeds); average: over tasks, where a task with several tests counts with the "
        "mean over all their rows"
    )
    if len(counted) < len(scores):
        notes.append("- beside: not in the average, and not counted")
    if baseline:
        notes.append(
            f"- against {baseline}: the difference of medians, that of means, and p of Welch's "
            "test of the latter, over trainings from the same start, without correction for their "
            "number; only figures with at least as many seeds as the baseline's are counted; "
            "average by seed: of the averages of the seeds that have all figures"
        )
    parts.append("\n".join(dict.fromkeys(notes)))
    write_page(out, parts)


def _metrics_of(
    record: Record, test: str, names: Iterable[str] = tuple(METRICS)
) -> Dict[str, float]:
    return {name: record.tests[test][name] for name in names if name in record.tests[test]}


def _scores(records: Sequence[Record]) -> Scores:
    scores: Scores = {}
    for record in records:
        for test in record.tests:
            found = scores.setdefault((record.pair, test), {}).setdefault(record.row, [])
            found.append(_figure(record, test))
    return scores


def _require_same_metrics(records: Sequence[Record]) -> None:
    """Refuse records whose figures on a test set are means of different metrics."""
    first: Dict[Key, Tuple[str, str]] = {}
    for record in records:
        for test in record.tests:
            here = ", ".join(_metrics_of(record, test))
            known, there = first.setdefault((record.pair, test), (record.name, here))
            if there != here:
                raise UserError(
                    f"{known} and {record.name} cannot be compared: on {test} one has {there}, the "
                    f"other {here}: score both with the same --metrics"
                )


def _figure(record: Record, test: str) -> float:
    metrics = _metrics_of(record, test)
    if not metrics:
        raise UserError(
            f"{record.name} has none of the metrics of fine-tuned models on {test}: keep records "
            "of translation in a folder of their own"
        )
    return mean(metrics.values())


def _averages(records: Sequence[Record], weights: Weights) -> Dict[str, List[float]]:
    """Return the averages over tasks by row, one for each seed that has all figures."""
    by_seed: Dict[Tuple[str, int], Dict[Key, float]] = {}
    for record in records:
        found = by_seed.setdefault((record.row, record.seed), {})
        found |= {(record.pair, test): _figure(record, test) for test in record.tests}
    averages: Dict[str, List[float]] = {}
    for (row, _), found in by_seed.items():
        if weights.keys() <= found.keys():
            averages.setdefault(row, []).append(_average(found, weights))
    return averages


def _counted(records: Sequence[Record]) -> Keys:
    """Return all figures, but only those of the first test for questions about passages."""
    found: Keys = []
    for record in records:
        tests = list(record.tests)
        about_passages = any("exact" in scores for scores in record.tests.values())
        found += [(record.pair, test) for test in (tests[:1] if about_passages else tests)]
    return list(dict.fromkeys(found))


def _weights(records: Sequence[Record], counted: Keys) -> Weights:
    """Return each test's weight in its task's figure: its rows, as in RACE's own overall figure."""
    rows = {
        (record.pair, test): scores.get("rows", 1)
        for record in records
        for test, scores in record.tests.items()
    }
    return {key: rows[key] for key in counted}


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    few = f" {MARK}" if len(values) < FEWEST else ""
    return f"{median(values):.1f}{deviation} ({len(values)}){few}" if values else ""


def _heading(task: str, test: str) -> str:
    return task if test == "valid" else f"{task} {test}"


def _headings(scores: Scores, counted: Container[Key]) -> List[str]:
    return [f"{_heading(*key)}{'' if key in counted else ' (beside)'}" for key in scores]


def _medians(scores: Scores, rows: Sequence[str], weights: Weights) -> str:
    body = []
    for row in rows:
        average = ""
        if all(row in scores[key] for key in weights):
            by_test = {key: median(scores[key][row]) for key in weights}
            few = any(len(scores[key][row]) < FEWEST for key in weights)
            average = f"{_average(by_test, weights):.2f}{f' {MARK}' if few else ''}"
        body.append([row, *(_spread(by_row.get(row, [])) for by_row in scores.values()), average])
    return markdown(["positions", *_headings(scores, weights), "average"], body)


def _average(by_test: Mapping[Key, float], weights: Weights) -> float:
    """Return the mean over tasks; one with several tests counts once, with their weighted mean."""
    tasks: Dict[str, Keys] = {}
    for key in weights:
        tasks.setdefault(key[0], []).append(key)
    return mean(
        fmean([by_test[key] for key in keys], [weights[key] for key in keys])
        for keys in tasks.values()
    )


def _differences(
    scores: Scores,
    averages: Mapping[str, Sequence[float]],
    rows: Sequence[str],
    counted: Keys,
    baseline: str,
) -> str:
    """Tabulate differences, and how many of a row's figures are better, equal and worse.

    Only figures with ``FEWEST`` seeds and at least as many as the baseline's are counted. Without
    other rows, the result is empty.
    """
    body = []
    for row in rows:
        pairs = {k: (found.get(row, []), found.get(baseline, [])) for k, found in scores.items()}
        enough = [pairs[k] for k in counted if len(pairs[k][0]) >= len(pairs[k][1]) >= FEWEST]
        known = [_gain(*pair) for pair in enough]
        if row != baseline and any(all(pair) for pair in pairs.values()):
            signs = [sum(gain > 0 for gain in known), known.count(0.0)]
            counts = " / ".join(map(str, [*signs, len(known) - sum(signs)]))
            average = _difference(averages.get(row, []), averages.get(baseline, []))
            cells = [_difference(*pair) for pair in pairs.values()]
            body.append([row, *cells, average, counts])
    if not body:
        return ""
    columns = [*_headings(scores, counted), "average by seed", "better / equal / worse"]
    return markdown([f"against {baseline}", *columns], body)


def _gain(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the difference of the medians as they are shown."""
    return round(round(median(values), 1) - round(median(base), 1), 1)


def _difference(values: Sequence[float], base: Sequence[float]) -> str:
    if not values or not base:
        return ""
    text = f"{_gain(values, base):+.1f}"
    if min(len(values), len(base)) < FEWEST:
        return f"{text} {MARK}"
    if stdev(values) == stdev(base) == 0.0:
        return text
    p = ttest_ind(values, base, equal_var=False).pvalue
    return f"{text} (mean {mean(values) - mean(base):+.1f}, p {p:.2f})"


def _metrics(records: Sequence[Record]) -> str:
    """Tabulate every metric of every row, as the median over seeds."""
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
