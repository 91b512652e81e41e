"""Show several experiments in one table: methods by corpora, all sentences and the longest."""

from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Collection, Dict, List, Optional, Sequence

from fairseq_floater.errors import UserError
from fairseq_floater.files import save_picture
from fairseq_floater.results.over_seeds import (
    ALL,
    FEWEST,
    Columns,
    Differences,
    columns_of,
    differences,
    lines,
    require_same_training,
    with_enough_seeds,
)
from fairseq_floater.results.page import (
    MARK,
    by_pair,
    markdown,
    notes,
    require_row,
    require_tests,
    spread,
    unlike,
    write_page,
)
from fairseq_floater.results.record import Record, read_records

#: BLEU by seed, by method and column
Table = Dict[str, Columns]

#: panels of the picture that are side by side
PANELS = 4


def summarise(
    folders: Sequence[Path],
    out: Path,
    baseline: Optional[str] = None,
    title: str = "",
    seeds: Collection[int] = (),
) -> None:
    """Write ``out``.md and ``out``.png from the records of several experiments.

    Args:
        folders: folders of records, one per experiment.
        out: path without its ending.
        baseline: the row whose BLEU with the same seed is subtracted; nothing is if None.
        title: title of the page.
        seeds: use only these seeds; all if empty.

    Raises:
        UserError: if a folder has no records, two have the same name, or none has the baseline.
    """
    table: Table = {}
    every: List[Record] = []
    about: List[str] = []
    names = [folder.absolute().name for folder in folders]
    for folder, name in zip(folders, names):
        if names.count(name) > 1:
            raise UserError(f"{folder} is one of two folders called {name}: rename one of them")
        records = read_records(folder, seeds)
        require_tests(records)
        require_same_training(records)
        if baseline:
            for rows in by_pair(records).values():
                about += unlike(rows)
        _add(table, name, records)
        every += records
    require_row(every, baseline)
    columns = list(dict.fromkeys(name for scores in table.values() for name in scores))
    found = differences(table, baseline) if baseline else {}
    parts = [f"# {title or 'Methods by corpora'}", f"![Scores]({out.name}.png)"]
    parts += [_scores(table, columns), _compared(found, columns, baseline)]
    parts.append(notes("".join(parts), about))
    write_page(out, parts)
    _draw(table, found, columns, baseline, out.with_name(out.name + ".png"))


def _add(table: Table, experiment: str, records: Sequence[Record]) -> None:
    """Add an experiment's scores. (Its folder may have rows copied from another experiment.)"""
    pairs = by_pair(records)
    for pair, row in ((pair, row) for pair, rows in pairs.items() for row in rows):
        seeds = pairs[pair][row]
        for test in dict.fromkeys(test for record in seeds for test in record.tests):
            scores = columns_of(seeds, test)
            for sentences in [ALL, list(scores)[-1]] if len(scores) > 1 else [ALL]:
                longest = "" if sentences == ALL else f", {sentences} words"
                column = f"{experiment}: {pair} {test}{longest}"
                table.setdefault(row, {})[column] = scores[sentences]


def _scores(table: Table, columns: Sequence[str]) -> str:
    body = [
        [row, *(_cell(scores.get(name, {})) for name in columns)] for row, scores in table.items()
    ]
    return markdown(["BLEU", *columns], body)


def _cell(seeds: Dict[int, float]) -> str:
    if not seeds:
        return ""
    return spread(list(seeds.values())) + (f" {MARK}" if len(seeds) < FEWEST else "")


def _compared(found: Differences, columns: Sequence[str], baseline: Optional[str]) -> str:
    enough = with_enough_seeds(found)
    if not enough:
        return ""
    return markdown([f"BLEU less {baseline}'s", *columns], lines(enough, columns))


def _draw(
    table: Table,
    found: Differences,
    columns: Sequence[str],
    baseline: Optional[str],
    path: Path,
) -> None:
    """Draw a panel per column and a line per method, with hollow points where seeds are few."""
    from matplotlib.figure import Figure  # matplotlib is slow to import

    values = found or {row: {n: list(s.values()) for n, s in c.items()} for row, c in table.items()}
    down = ceil(len(columns) / PANELS)
    across = min(len(columns), PANELS)
    size = (2.5 + 2.6 * across, down * (1.2 + 0.25 * len(values)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for axis in axes.flat[len(columns) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, columns):
        for height, row in enumerate(values):
            _point(axis, height, values[row].get(name, []))
        axis.set_title(name.replace(": ", "\n"), fontsize=8)
        axis.set_xlabel(f"BLEU less {baseline}'s" if found else "BLEU", fontsize=8)
        axis.grid(alpha=0.3)
        if found:
            axis.axvline(0.0, color="0.3", linewidth=1)
    for axis in axes[:, 0]:
        axis.set_yticks(range(len(values)), list(values), fontsize=8)
    axes[0][0].set_ylim(len(values) - 0.5, -0.5)
    save_picture(figure, path, dpi=130)


def _point(axis: Any, height: int, values: Sequence[float]) -> None:
    if values:
        error = stdev(values) if len(values) > 1 else 0.0
        fill = "C0" if len(values) >= FEWEST else "white"
        axis.errorbar(mean(values), height, xerr=error, fmt="o", color="C0", markerfacecolor=fill)
