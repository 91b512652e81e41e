"""The metrics of GLUE (Wang et al. 2019, table 1), times 100, as in published figures."""

from functools import partial
from math import isfinite
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from fairseq_floater.errors import UserError


class Labelled(NamedTuple):
    """Predictions and right labels, row by row, as texts of classes or of scores."""

    predictions: List[str]
    labels: Optional[List[str]]


def _accuracy(predictions: Sequence[str], labels: Sequence[str]) -> float:
    return sum(p == label for p, label in zip(predictions, labels)) / len(labels)


def _f1(predictions: Sequence[str], labels: Sequence[str]) -> float:
    if names := {*predictions, *labels} - {"0", "1"}:
        raise UserError(f"F1 is for classes 0 and 1, but there is {min(names)}: use accuracy")
    return float(f1_score(labels, predictions, pos_label="1", zero_division=0.0))


def _matthews(predictions: Sequence[str], labels: Sequence[str]) -> float:
    return float(matthews_corrcoef(labels, predictions))


def _correlation(
    correlate: Callable[..., Sequence[float]], predictions: Sequence[str], labels: Sequence[str]
) -> float:
    try:
        found, wanted = ([float(text) for text in texts] for texts in (predictions, labels))
    except ValueError as error:
        raise UserError(f"a correlation is for scores ({error}): use accuracy") from None
    if not all(map(isfinite, found)):
        raise UserError("a prediction is no finite number: the training diverged; lower its --lr")
    if 1 in (len(set(found)), len(set(wanted))):  # there is none if all values are the same
        return 0.0
    return float(correlate(found, wanted)[0])


METRICS: Dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson": partial(_correlation, pearsonr),
    "spearman": partial(_correlation, spearmanr),
}


def measure(found: Labelled, names: Sequence[str]) -> Dict[str, float]:
    """Return metrics by name, times 100.

    Raises:
        UserError: if there are no labels or no rows, or a name is not that of a metric.
    """
    if not found.labels:
        raise UserError("without labels there is nothing to measure: predict a labelled set")
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UserError(f"no metric {unknown[0]}: choose from {', '.join(METRICS)}")
    return {name: 100 * METRICS[name](found.predictions, found.labels) for name in names}
