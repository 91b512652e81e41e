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
    if not found:
        raise UserError(f"{path} has no hypothesis: write NAME: ROW > BASELINE on TEST")
    if len(seeds) < FEWEST:
        raise UserError(
            f"{path} names {len(seeds)} seeds, but at least {FEWEST} are needed: add a line such "
            "as seeds: 2 3 4"
        )
    return Plan(seeds, found)


@dataclass
class Outcome:
    """What seeds say of a hypothesis so far.

    Attributes:
        hypothesis: the claim.
        paired: BLEU of the row minus that of its baseline, for each seed that both have.
        wanted: number of seeds that decide.
        p: of the two-sided t-test that there is no difference; None for a claim with a margin,
            which is another one, and where there is none.
        corrected: p with Holm's correction.
        least: what that may become while other hypotheses are open.
    """

    hypothesis: Hypothesis
    paired: Sequence[float]
    wanted: int
    p: Optional[float] = None
    corrected: Optional[float] = None
    least: Optional[float] = None

    @property
    def is_open(self) -> bool:
        return len(self.paired) < self.wanted

    def cells(self) -> List[str]:
        """Return its line of the table."""
        cells = [self.hypothesis.name, str(self.hypothesis), str(len(self.paired))]
        if self.is_open:
            return [*cells, *[""] * 4, "is open"]
        low, high = interval(self.paired)
        cells.append(f"{mean(self.paired):+.2f} ± {stdev(self.paired):.2f}")
        cells.append(f"[{low:+.2f}, {high:+.2f}]")
        cells += ["" if p is None else f"{p:.4f}" for p in (self.p, self.corrected)]
        return [*cells, self._verdict(low, high)]

    def _verdict(self, low: float, high: float) -> str:
        if self.hypothesis.margin is not None:
            holds, fails = low > -self.hypothesis.margin, high < -self.hypothesis.margin
        else:
            sure = self.corrected is not None and self.corrected < LEVEL
            holds, fails = sure and mean(self.paired) > 0, sure and mean(self.paired) < 0
        yet = " yet" if self.least is not None and self.least < LEVEL else ""
        return "holds" if holds else "is the other way round" if fails else f"is not shown{yet}"


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
    records = [r for r in read_records(folder) if r.row in named and r.seed in seeds]
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
    found = [
        Outcome(one, _paired(one, rows.get(one.row, ()), rows.get(one.baseline, ())), len(seeds))
        for one in known
    ]
    tested = [outcome for outcome in found if outcome.hypothesis.margin is None]
    _test(tested)
    header = ["", "hypothesis", "seeds", "difference", "95 % interval", "p", "p, Holm", "it"]
    body = [outcome.cells() for outcome in found]
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


def _test(tested: Sequence[Outcome]) -> None:
    """Give each outcome its p, with Holm's correction over all of them.

    An open hypothesis has no p yet, not even for the correction of the others, which is made as if
    it were not shown; and once more as if it had the smallest p, to see what others may become.
    """
    for outcome in tested:
        outcome.p = None if outcome.is_open else p_of(outcome.paired)
    # A row that equals its baseline in all seeds has no p either, and will not get one.
    now = holm([1.0 if one.p is None else one.p for one in tested])
    then = holm([(0.0 if one.is_open else 1.0) if one.p is None else one.p for one in tested])
    for outcome, corrected, least in zip(tested, now, then):
        if outcome.p is not None:
            outcome.corrected, outcome.least = corrected, least


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
