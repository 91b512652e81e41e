"""Score what a fine-tuned run predicted, and write its record."""

import json
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from fairseq_floater.data import read_squad
from fairseq_floater.errors import UserError, first_line
from fairseq_floater.results.run import unscored
from fairseq_floater.results.scores import digest
from fairseq_floater.understanding.answer_scores import score_answers
from fairseq_floater.understanding.classes import read_predictions
from fairseq_floater.understanding.metrics import measure


def read_and_score_labels(path: Path, metrics: Sequence[str]) -> Dict[str, Any]:
    """Return the metrics of what ``classes.predict`` wrote.

    Beside them are the number of rows and a digest of the right labels.

    Raises:
        UserError: as ``read_predictions`` and ``measure`` do.
    """
    found = read_predictions(path)
    scores = measure(found, metrics)
    assert found.labels is not None  # or else there would be no metrics
    return {**scores, "rows": len(found.labels), "references": digest(found.labels)}


def read_and_score_answers(
    folder: Path, questions: Path, null_threshold: Optional[float] = None
) -> Dict[str, Any]:
    """Return scores (see ``answer_scores``) of what ``answers.answer`` wrote to a folder.

    Beside them is a digest of the right answers.

    Raises:
        UserError: if a file is missing or of another kind, or all answers are to other questions.
    """
    asked = read_squad(questions).questions
    predictions, path = _read(folder / "predictions.json", str), folder / "null_odds.json"
    odds = _read(path, Real) if path.is_file() else None
    scores = score_answers(asked, predictions, odds, null_threshold)
    right = [f"{question.id} {question.answers}" for question in asked]
    return {**scores, "references": digest(right)}


def _read(path: Path, kind: type) -> Dict[str, Any]:
    """Read a value of this kind for each question."""
    if not path.is_file():
        raise UserError(f"no answers at {path}: run floater answer first")
    try:
        found = dict(json.loads(path.read_text("utf-8")))
        for id, value in found.items():
            if not isinstance(value, kind) or (isinstance(value, float) and not isfinite(value)):
                raise TypeError(f"for question {id} it says {value!r:.40}")
        return found
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a file of floater answer ({first_line(error)}): delete it and answer "
            "again"
        ) from None


def record_tests(
    run: Path,
    out: Path,
    name: str,
    checkpoint: Path,
    tests: Mapping[str, Mapping[str, Any]],
    order: int = 0,
    seed: int = 1,
) -> None:
    """Write the record of a run with what it scored.

    Args:
        run: folder with ``train.log``.
        out: folder of the records.
        name: EXPERIMENT/TASK/ROW.
        checkpoint: the checkpoint that predicted.
        tests: scores by name of the test set, such as ``valid``.
        order: of the row in its table.
        seed: of the training.

    Raises:
        UserError: if something is missing or does not fit.
    """
    record, _ = unscored(run, name, checkpoint, order, seed)
    record.tests = {test: dict(scores) for test, scores in tests.items()}
    record.write(out)
