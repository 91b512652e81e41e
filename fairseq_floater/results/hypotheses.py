"""Hypotheses that were written down before any run that decides them: which hold, over seeds."""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Collection, List, Optional, Sequence

from fairseq_floater.errors import UserError
from fairseq_floater.files import write_text
from fairseq_floater.results.over_seeds import (
    ALL,
    FEWEST,
    columns_of,
    holm,
    interval,
    p_of,
    require_same_training,
)
from fairseq_floater.results.record import Record, read_records
from fairseq_floater.results.report import by_pair, markdown

#: of a difference that holds
LEVEL = 0.05

#: NAME: ROW > BASELINE [- MARGIN] on TEST[, BIN]
_LINE = re.compile(
    r"(?P<name>\w+): +(?P<row>\S+) +> +(?P<baseline>\S+)(?: +- +(?P<margin>[0-9.]+))?"
    r" +on +(?P<test>[^ ,]+)(?:, *(?P<sentences>.+))?"
)


@dataclass(frozen=True)
class Hypothesis:
    """That a row scores more BLEU than another, or no less than a margin below it."""

    name: str
    row: str
    baseline: str
    margin: Optional[float]  #: in BLEU; None: it scores more
    test: str
    sentences: str  #: ``ALL`` of the test set, or a bin of it, such as ``<= 30``

    def __str__(self) -> str:
        margin = "" if self.margin is None else f" - {self.margin:g}"
        where = self.test if self.sentences == ALL else f"{self.test}, {self.sentences}"
        return f"{self.row} > {self.baseline}{margin} on {where}".replace("<=", "≤")


def read_hypotheses(path: Path) -> List[Hypothesis]:
    """A hypothesis a line; ``#`` begins a comment.

    Raises:
        UserError: naming the line that is none.
    """
    found: List[Hypothesis] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise UserError(
                f"{path}, line {number}: {text!r} is no hypothesis: write NAME: ROW > BASELINE "
                "[- MARGIN] on TEST[, BIN]"
            )
        part = match.groupdict()
        if part["name"] in {one.name for one in found}:
            raise UserError(f"{path}, line {number}: there is a {part['name']} already: rename one")
        margin = None if part["margin"] is None else float(part["margin"])
        sentences = part["sentences"] or ALL
        found.append(
            Hypothesis(part["name"], part["row"], part["baseline"], margin, part["test"], sentences)
        )
    return found


def decide(folder: Path, hypotheses: Path, out: Path, seeds: Collection[int] = ()) -> None:
    """Write ``out``.md: what each hypothesis came to.

    Differences are paired by seed. One that a row scores more holds by a two-sided t-test with
    Holm's correction over all of these, those without seeds among them. One with a margin holds if
    the lower end of the difference's 95 % interval is above minus the margin.

    Args:
        folder: of the records of one experiment and one language pair.
        hypotheses: file of ``read_hypotheses``.
        out: path without its ending.
        seeds: these alone, and a hypothesis is open until both of its rows have them; none: all.

    Raises:
        UserError: for a line that is no hypothesis, or a folder with several pairs or without
            records.
    """
    records = read_records(folder, seeds)
    require_same_training(records)
    pairs = by_pair(records)
    if len(pairs) > 1:
        raise UserError(f"{folder} has results of {', '.join(pairs)}: one pair decides hypotheses")
    (rows,) = pairs.values()
    known = read_hypotheses(hypotheses)
    paired = [_paired(one, rows.get(one.row, ()), rows.get(one.baseline, ())) for one in known]
    raw = [p_of(values) for values in paired]
    tested = [n for n, one in enumerate(known) if one.margin is None]
    corrected: List[Optional[float]] = [None] * len(known)
    known_p = [1.0 if (p := raw[n]) is None else p for n in tested]
    for n, p in zip(tested, holm(known_p)):
        corrected[n] = None if raw[n] is None else p
    wanted = max(len(seeds), FEWEST)
    body = [_line(*given, wanted) for given in zip(known, paired, raw, corrected)]
    header = ["", "hypothesis", "seeds", "difference", "95 % interval", "p", "p, Holm", "it"]
    notes = (
        "- difference: BLEU, paired by seed, ± its standard deviation over seeds\n"
        "- p: of a two-sided t-test; Holm's correction is over the "
        f"{len(tested)} without a margin\n"
        f"- fewer than {wanted} seeds in common decide nothing"
    )
    table = markdown(header, body)
    title = f"# Hypotheses, {records[0].experiment}"
    write_text(out.with_name(out.name + ".md"), f"{title}\n\n{table}\n\n{notes}\n")


def _paired(
    hypothesis: Hypothesis, row: Sequence[Record], baseline: Sequence[Record]
) -> List[float]:
    """BLEU of the row less that of the baseline, by seeds that both have."""
    ours, theirs = (
        columns_of(records, hypothesis.test).get(hypothesis.sentences, {})
        for records in (row, baseline)
    )
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def _line(
    hypothesis: Hypothesis,
    paired: Sequence[float],
    raw: Optional[float],
    corrected: Optional[float],
    wanted: int,
) -> List[str]:
    """Its cells; it is open with fewer than ``wanted`` seeds."""
    cells = [hypothesis.name, str(hypothesis), str(len(paired))]
    if len(paired) < wanted:
        return [*cells, *[""] * 4, "is open"]
    low, high = interval(paired)
    cells += [f"{mean(paired):+.2f} ± {stdev(paired):.2f}", f"[{low:+.2f}, {high:+.2f}]"]
    cells += ["" if p is None else f"{p:.4f}" for p in (raw, corrected)]
    if hypothesis.margin is not None:
        holds, fails = low > -hypothesis.margin, high < -hypothesis.margin
    else:
        sure = corrected is not None and corrected < LEVEL
        holds, fails = sure and mean(paired) > 0, sure and mean(paired) < 0
    return [*cells, "holds" if holds else "is the other way round" if fails else "is not shown"]
