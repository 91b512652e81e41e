"""Draw records: scores by source length if there are bins, otherwise scores by row."""

from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairseq_floater.files import save_picture
from fairseq_floater.results.record import Record


def draw(pairs: Dict[str, Dict[str, List[Record]]], path: Path) -> None:
    """Draw one panel per language pair and test set."""
    panels = [
        (pair, test, rows)
        for pair, rows in pairs.items()
        for test in dict.fromkeys(t for rs in rows.values() for r in rs for t in r.tests)
    ]
    figure = Figure(figsize=(4.8 * len(panels), 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, (pair, test, rows) in zip(axes[0], panels):
        has_bins = any(r.bins(test) for rs in rows.values() for r in rs)
        (_by_length if has_bins else _by_row)(axis, test, rows)
        axis.set_title(f"{pair}, {test}", fontsize=10)
        axis.grid(alpha=0.3)
    save_picture(figure, path, dpi=130)


def _by_length(axis: Axes, test: str, rows: Dict[str, List[Record]]) -> None:
    for row, records in rows.items():
        records = [r for r in records if r.bins(test)]
        if not records:
            continue
        sizes: Dict[str, int] = {}
        for record in records:
            for words, found in record.bins(test).items():
                sizes.setdefault(words, found["sentences"])
        values = [[r.bins(test)[w]["bleu"] for r in records if w in r.bins(test)] for w in sizes]
        names = [f"{w.replace('<=', '≤')}\n{size:,} pairs" for w, size in sizes.items()]
        errors = [stdev(v) if len(v) > 1 else 0.0 for v in values]
        axis.errorbar(names, [mean(v) for v in values], yerr=errors, marker="o", label=row)
    axis.set_xlabel("source words")
    axis.set_ylabel("BLEU")
    axis.legend(fontsize=8)


def _by_row(axis: Axes, test: str, rows: Dict[str, List[Record]]) -> None:
    shown = {row: [r for r in rs if test in r.tests] for row, rs in rows.items()}
    shown = {row: rs for row, rs in shown.items() if rs}
    for height, (_, records) in enumerate(shown.items()):
        values = [r.tests[test]["bleu"] for r in records]
        axis.plot(values, [height] * len(values), "o", color="C0", alpha=0.4)
        axis.plot(mean(values), height, "D", color="C3")
        axis.annotate(f"{mean(values):.1f}", (mean(values), height), xytext=(6, 4),
                      textcoords="offset points", fontsize=8)  # fmt: skip
    axis.set_yticks(range(len(shown)), list(shown), fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15, y=0.08)
    axis.set_xlabel("BLEU")
