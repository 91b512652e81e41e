"""A fine-tuned run's predictions as a record: what they are worth, and what it cost."""

from pathlib import Path
from typing import Sequence

from fairseq_floater.labels.metrics import measure
from fairseq_floater.labels.predict import read_predictions
from fairseq_floater.results.record import Record
from fairseq_floater.results.run import unscored


def score_labels(
    run: Path,
    out: Path,
    name: str,
    checkpoint: Path,
    tests: Sequence[str],
    metrics: Sequence[str],
    order: int = 0,
    seed: int = 1,
) -> Record:
    """Score a run and write its record.

    Args:
        run: holds ``train.log`` and, for each test set, ``predict.TEST.tsv``.
        out: folder of the records.
        name: EXPERIMENT/TASK/ROW.
        checkpoint: what was predicted with.
        tests: names of the test sets, such as ``valid``.
        metrics: the task's, see ``metrics.METRICS``.
        order: of the row in its table.
        seed: of the training.

    Raises:
        UserError: if something is missing or does not fit.
    """
    record, _ = unscored(run, name, checkpoint, order, seed)
    for test in tests:
        found = read_predictions(run / f"predict.{test}.tsv")
        record.tests[test] = {**measure(found, metrics), "rows": len(found.predictions)}
    record.write(out)
    return record
