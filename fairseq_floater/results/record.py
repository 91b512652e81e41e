"""One run as one JSON file: what was run, what it scored, what it cost."""

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Collection, Dict, List, get_origin, get_type_hints

from fairseq_floater.errors import UserError
from fairseq_floater.files import write_text
from fairseq_floater.results.lengths import WORDS


@dataclass
class Record:
    """A trained and scored model; the records of its seeds make up a row of a table."""

    experiment: str  #: such as table2_tiny
    pair: str  #: such as en-de
    row: str  #: such as floater-all
    order: int  #: of the row in its table
    seed: int
    options: Dict[str, Any]  #: of the position encoding, from the checkpoint
    tests: Dict[str, Dict[str, Any]]  #: by name of the test set, from ``scores.score``
    signatures: Dict[str, str]
    training: Dict[str, Any] = field(default_factory=dict)  #: from ``training.read_training``
    position_parameters: Dict[str, int] = field(default_factory=dict)
    solver_errors: Dict[str, float] = field(default_factory=dict)  #: relative, by stack
    machine: str = ""
    commands: Dict[str, str] = field(default_factory=dict)  #: of training and generation

    @property
    def name(self) -> str:
        """The name of the file without its ending, which no other run has."""
        return f"{self.pair}.{self.row}.seed{self.seed}"

    def bins(self, test: str, unit: str = WORDS) -> Dict[str, Dict[str, Any]]:
        """Return scores by source length, keyed by bin, such as ``13-16``; without empty bins."""
        bins = self.tests.get(test, {}).get("bins") or []
        return {found[unit]: found for found in bins if found["sentences"] and unit in found}

    def write(self, folder: Path) -> None:
        """Write ``folder``/``name``.json, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        write_text(folder / f"{self.name}.json", text)


def read_records(folder: Path, seeds: Collection[int] = ()) -> List[Record]:
    """Return all records in a folder, or those of some seeds, in the order of the table.

    Raises:
        UserError: if there are none, or a file is not a record or does not have its name.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(f"no results (*.json) in {folder}: run the score stage of a row first")
    records = []
    for path in paths:
        try:
            record = _record(path.read_text("utf-8"))
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path} is not a result of floater score, score-labels or score-answers "
                f"({error}): score that row again, or remove it"
            ) from None
        if path.stem != record.name:  # a copy would count as one more seed
            raise UserError(f"{path} is a result of {record.name}: remove it, or rename it")
        records.append(record)
    if seeds:
        records = [record for record in records if record.seed in seeds]
        if not records:
            raise UserError(
                f"no results of seed {', '.join(map(str, seeds))} in {folder}: give other --seeds, "
                "or none for all"
            )
    return sorted(records, key=lambda r: (r.pair, r.order, r.row, r.seed))


def _record(text: str) -> Record:
    """Read a record; ``TypeError`` or ``ValueError`` if it is none."""
    record = Record(**json.loads(text))
    for name, hint in get_type_hints(Record).items():
        value, kind = getattr(record, name), get_origin(hint) or hint
        if not isinstance(value, kind):
            raise TypeError(f"its {name} is {value!r:.40}, not of type {kind.__name__}")
    for test, scores in record.tests.items():
        if not isinstance(scores, dict):
            raise TypeError(f"for {test} it has {scores!r:.40}, not scores")
        for name, value in scores.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"for {test} its {name} is {value}")
    return record


def references_path(folder: Path, pair: str, test: str) -> Path:
    """Return where the references of a test set lie beside the records, one per line."""
    return folder / f"{pair}.{test}.ref"
