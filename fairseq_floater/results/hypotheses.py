"""Decide, over seeds, which hypotheses hold; they were written down before the runs."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from fairseq_floater.errors import UserError
from fairseq_floater.results.over_seeds import (
    ALL,
    FEWEST,
    columns_of,
    holm,
    interval,
    p_of,
    require_alike,
    require_same_training,
    shown,
)
from fairseq_floater.results.page import by_pair, markdown, write_page
from fairseq_floater.results.record import Record, read_records

#: significance level of a difference that holds
LEVEL = 0.05

#: the seeds that decide, such as: seeds: 2 3 4
_SEEDS = re.compile(r"seeds: +(?P<seeds>\d+( +\d+)*)")

#: NAME: ROW > BASELINE [- MARGIN] on TEST[, BIN]
_LINE = re.compile(
    r"(?P<name>\w+): +(?P<row>\S+) +> +(?P<baseline>\S+)(?: +- +(?P<margin>\d+(\.\d+)?))?"
    r" +on +(?P<test>[^ ,]+)(?:, *(?P<sentences>.+))?"
)


@dataclass(frozen=True)
class Hypothesis:
    """The claim that a row scores more BLEU than another, or at most a margin less."""

    name: str
    row: str
    baseline: str
    margin: Optional[float]  #: in BLEU; None if the row is to score more
    test: str
    sentences: str  #: ``ALL`` of the test set, or a bin of it, such as ``<= 30``

    def __str__(self) -> str:
        margin = "" if self.margin is None else f" - {self.margin:g}"
        where = self.test if self.sentences == ALL else f"{self.test}, {self.sentences}"
        return f"{self.row} > {self.baseline}{margin} on {where}".replace("<=", "≤")


class Plan(NamedTuple):
    """The content of a file of hypotheses.

    Attributes:
        seeds: the seeds that decide; no others do.
        hypotheses: in the order of the file.
    """

    seeds: Tuple[int, ...]
    hypotheses: List[Hypothesis]


def read_hypotheses(path: Path) -> Plan:
    """Read a file with one hypothesis per line and a line of seeds; ``#`` begins a comment.

    Raises:
        UserError: naming a line that is neither, or if there are no seeds or too few, or the file
            is not text.
    """
    found: List[Hypothesis] = []
    seeds: Tuple[int, ...] = ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if given := _SEEDS.fullmatch(text):
            if seeds:
                raise UserError(f"{path}, line {number}: there are seeds already: leave one line")
            seeds = tuple(dict.fromkeys(map(int, given["seeds"].split())))
        if not text or given:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise UserError(
                f"{path}, line {number}: {text!r} is not a hypothesis: write NAME: ROW > BASELINE "
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
    if len(seeds) < FEWEST:
        raise UserError(
            f"{path} names {len(seeds)} seeds, but at least {FEWEST} are needed: add a line such "
            "as seeds: 2 3 4"
        )
    return Plan(seeds, found)


def decide(folder: Path, hypotheses: Path, out: Path) -> None:
    """Write the outcome of each hypothesis to ``out``.md.

    Differences are paired by seed. A hypothesis is open until both of its rows have all seeds that
    the file names; other seeds are ignored. The claim that a row scores more holds by a two-sided
    t-test with Holm's correction over all such claims, including those without seeds. A claim with
    a margin holds if the lower end of the difference's 95 % interval is above minus the margin.

    Args:
        folder: the folder with the records of one experiment and one language pair.
        hypotheses: the file for ``read_hypotheses``.
        out: path without its ending.

    Raises:
        UserError: for a line that is not a hypothesis, a folder with several pairs or without
            records, a test set or bin for which these have no scores, or rows that were not
            trained alike.
    """
    seeds, known = read_hypotheses(hypotheses)
    named = {row for one in known for row in (one.row, one.baseline)}
    records = [record for record in read_records(folder, seeds) if record.row in named]
    if not records:
        raise UserError(f"{folder} has no row of {hypotheses} yet: run one with these seeds first")
    pairs = by_pair(records)
    if len(pairs) > 1:
        raise UserError(
            f"{folder} has results of {', '.join(pairs)}: hypotheses need a folder of one pair"
        )
    require_same_training(records)
    require_alike(records)
    (rows,) = pairs.values()
    for one in known:
        _require_scores(one, [*rows.get(one.row, ()), *rows.get(one.baseline, ())])
    paired = [_paired(one, rows.get(one.row, ()), rows.get(one.baseline, ())) for one in known]
    tested = [n for n, one in enumerate(known) if one.margin is None]
    # An open hypothesis has no p yet, not even for the correction of the others. For one with a
    # margin, p would be about no difference at all, which is not its claim.
    raw = [
        p_of(values) if n in tested and len(values) >= len(seeds) else None
        for n, values in enumerate(paired)
    ]
    corrected: List[Optional[float]] = [None] * len(known)
    best = list(corrected)  # what they may become, if the open ones have the smallest p
    # A row that equals its baseline in all seeds has no p either, and will not get one.
    smallest = [0.0 if len(values) < len(seeds) else 1.0 for values in paired]
    now = holm([_or(raw[n], 1.0) for n in tested])
    then = holm([_or(raw[n], smallest[n]) for n in tested])
    for n, p, least in zip(tested, now, then):
        corrected[n], best[n] = (None, None) if raw[n] is None else (p, least)
    body = [_line(*given, len(seeds)) for given in zip(known, paired, raw, corrected, best)]
    header = ["", "hypothesis", "seeds", "difference", "95 % interval", "p", "p, Holm", "it"]
    notes = (
        "- difference: BLEU, paired by seed, ± its standard deviation over seeds\n"
        "- p: of a two-sided t-test, for those without a margin; Holm's correction is over these "
        f"{len(tested)}, and intervals are without it\n"
        f"- seeds {', '.join(map(str, seeds))}; a hypothesis stays open if one of them is missing, "
        "and one that is not shown yet may be shown when the open ones are in\n"
        f"- code: {', '.join(_code(records)) or 'unknown'}"
    )
    parts = [f"# Hypotheses, {records[0].experiment}", markdown(header, body), notes]
    if beside := _by_length(known, rows, len(seeds)):
        parts.append(f"The same differences by source length; they decide nothing:\n\n{beside}")
    write_page(out, parts)


def _or(p: Optional[float], otherwise: float) -> float:
    return otherwise if p is None else p


def _require_scores(hypothesis: Hypothesis, records: Sequence[Record]) -> None:
    for record in records:
        columns = columns_of([record], hypothesis.test)
        for kind, wanted, known in (
            ("test set", hypothesis.test, record.tests),
            ("sentences", hypothesis.sentences, columns),
        ):
            if wanted not in known:
                raise UserError(
                    f"{hypothesis.name} is about the {kind} {wanted}, for which {record.name} "
                    f"has no scores: choose from {', '.join(known)}"
                )


def _code(records: Sequence[Record]) -> List[str]:
    """Return the commits that were trained with, each with its number of records."""
    commits = [
        code.partition(",")[0] for record in records for code in record.training.get("code", ())
    ]
    return [f"{commit} ({commits.count(commit)})" for commit in dict.fromkeys(commits)]


def _paired(
    hypothesis: Hypothesis, row: Sequence[Record], baseline: Sequence[Record]
) -> List[float]:
    """Return the BLEU of the row minus that of the baseline, for each seed that both have."""
    ours, theirs = (
        columns_of(records, hypothesis.test).get(hypothesis.sentences, {})
        for records in (row, baseline)
    )
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def _by_length(known: Sequence[Hypothesis], rows: Dict[str, List[Record]], wanted: int) -> str:
    """Tabulate differences in bins with all seeds, for hypotheses about a whole test set."""
    found: Dict[str, Dict[str, List[float]]] = {}
    for one in known:
        if one.sentences != ALL:
            continue
        row, baseline = rows.get(one.row, ()), rows.get(one.baseline, ())
        names = [name for name in columns_of(row, one.test) if name != ALL]
        paired = {name: _paired(replace(one, sentences=name), row, baseline) for name in names}
        bins = {name: values for name, values in paired.items() if len(values) >= wanted}
        found[f"{one.name} {one.test}"] = bins
    found = {name: bins for name, bins in found.items() if bins}
    columns = list(dict.fromkeys(column for bins in found.values() for column in bins))
    body = [
        [name, *(shown(bins.get(c, []), None) for c in columns)] for name, bins in found.items()
    ]
    return markdown(["", *(c.replace("<=", "≤") for c in columns)], body) if body else ""


def _line(
    hypothesis: Hypothesis,
    paired: Sequence[float],
    raw: Optional[float],
    corrected: Optional[float],
    best: Optional[float],
    wanted: int,
) -> List[str]:
    """Return the cells of a hypothesis, which is open if it has fewer than ``wanted`` seeds.

    A claim that is not shown may yet be if ``best``, the least that the corrected p can become
    while others are open, is below the level.
    """
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
    yet = " yet" if best is not None and best < LEVEL else ""
    verdict = "holds" if holds else "is the other way round" if fails else f"is not shown{yet}"
    return [*cells, verdict]
