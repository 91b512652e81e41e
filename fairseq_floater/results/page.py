"""What all pages of results share: groups of records, Markdown tables, notes beneath them."""

from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List, Optional, Sequence

from fairseq_floater.errors import UserError
from fairseq_floater.files import write_text
from fairseq_floater.results.over_seeds import FEWEST, first_difference
from fairseq_floater.results.record import Record

#: mark beside the name of a row with few seeds
MARK = "\\*"

Rows = Dict[str, List[Record]]  #: a row's records, one per seed


def require_tests(records: Sequence[Record]) -> None:
    """Raise a ``UserError`` if a record has no tests, as those of a first stage."""
    for record in records:
        if not record.tests:
            raise UserError(
                f"{record.name} has no tests, but others beside it have: report it apart from them"
            )


def unlike(rows: Rows) -> List[str]:
    """Return a note if rows to be compared were not trained alike, as a warm start and its base."""
    found = first_difference([record for of_row in rows.values() for record in of_row])
    return [f"not all rows were trained alike: {found}"] if found else []


def require_row(records: Sequence[Record], baseline: Optional[str]) -> None:
    """Raise a ``UserError`` if a baseline is named that has no records."""
    if baseline and baseline not in {r.row for r in records}:
        names = ", ".join(dict.fromkeys(r.row for r in records))
        raise UserError(f"--baseline {baseline} is not among the results: choose from {names}")


def write_page(out: Path, parts: Sequence[str]) -> None:
    """Write those of ``parts`` that are not empty to ``out``.md, a paragraph each."""
    write_text(out.with_name(out.name + ".md"), "\n\n".join(filter(None, parts)) + "\n")


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Format the mean, with the standard deviation over seeds if there are several."""
    text = f"{mean(values):,.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def by_pair(records: Sequence[Record]) -> Dict[str, Rows]:
    """Group records by language pair and row."""
    pairs: Dict[str, Rows] = {}
    for record in records:
        pairs.setdefault(record.pair, {}).setdefault(record.row, []).append(record)
    return pairs


def notes(text: str, about: Sequence[str] = ()) -> str:
    """Return a list that explains what is in ``text``, to stand under it."""
    lines = list(about)
    for mark, explanation in _EXPLANATIONS.items():
        if mark in text:
            lines.append(explanation)
    return "\n".join(f"- {line}" for line in dict.fromkeys(lines))


#: what needs an explanation if it is in a report
_EXPLANATIONS = {
    MARK: f"{MARK} fewer than {FEWEST} seeds: decides nothing",
    "BLEU less ": "differences are paired by seed: their mean, standard deviation, 95 % interval "
    "and the p of a two-sided t-test, with Holm's correction over the cells of a table that have "
    "one; intervals are without it",
    "p bootstrap": "p within a seed, over test sentences, is for the first seed that both rows "
    "have and says nothing about other trainings; p bootstrap, as sacreBLEU computes it, is "
    "one-sided: about half of randomisation's two-sided p; both count only what is larger than the "
    "difference, not what is equal to it, so p is too small where outputs hardly differ",
    "length ratio": "length ratio: words of the translations, relative to the references; ended by "
    "themselves: the share of translations that are not cut off at the longest length allowed",
    "solver error": "solver error: of the trajectories, relative to 20 steps per position in "
    "float64",
    "of dynamics or table": "of dynamics or table, of initial values: parameters of the positions",
}
