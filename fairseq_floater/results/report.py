"""Report a folder of records as Markdown: scores, significance, scores by length, cost."""

from pathlib import Path
from statistics import mean
from typing import Any, Callable, Collection, Dict, List, Optional, Sequence, Tuple

from fairseq_floater.errors import UserError
from fairseq_floater.results.generation import read_lines
from fairseq_floater.results.lengths import SUBWORDS, WORDS
from fairseq_floater.results.over_seeds import (
    FEWEST,
    compared,
    require_same_training,
)
from fairseq_floater.results.page import (
    MARK,
    Rows,
    by_pair,
    markdown,
    notes,
    require_row,
    require_tests,
    spread,
    unlike,
    write_page,
)
from fairseq_floater.results.record import Record, read_records, references_path
from fairseq_floater.results.scores import digest
from fairseq_floater.results.significance import p_values

Find = Callable[[Record], Any]  #: gives a figure of a record; ``KeyError`` if it has none


def report(
    folder: Path,
    out: Path,
    baseline: Optional[str] = None,
    title: str = "",
    seeds: Collection[int] = (),
) -> None:
    """Write ``out``.md and ``out``.png from the records in ``folder``.

    Args:
        folder: the folder with records and references, as ``floater score`` leaves it.
        out: path without its ending.
        baseline: the row that significance is tested against; no test if None.
        title: title of the page; the experiment's name if empty.
        seeds: use only these seeds; all if empty.

    Raises:
        UserError: if there are no records, the baseline is not among them, or the commands of a
            row's seeds differ, or the references of a test set.
    """
    from fairseq_floater.results import picture  # matplotlib is slow to import

    records = read_records(folder, seeds)
    require_row(records, baseline)
    require_same_training(records)
    require_tests(records)
    pairs = by_pair(records)
    parts = [f"# {title or records[0].experiment}", f"![Scores]({out.name}.png)", _summary(pairs)]
    about = _about(records)
    for pair, rows in pairs.items():
        parts.append(f"## {pair}\n\n{_scores(rows)}")
        if baseline in rows and len(rows) > 1:
            about += unlike(rows)
            parts += [_over_seeds(rows, baseline, test) for test in _tests(rows)]
            parts.append(_significance(folder, pair, rows, baseline))
        parts += [_lengths(rows, t, unit) for t in _tests(rows) for unit in (WORDS, SUBWORDS)]
        parts.append(_cost(rows))
    parts.append(notes("".join(parts), about))
    write_page(out, parts)
    picture.draw(pairs, out.with_name(out.name + ".png"))


def _tests(rows: Rows) -> List[str]:
    return list(dict.fromkeys(test for rs in rows.values() for r in rs for test in r.tests))


def _values(records: Sequence[Record], find: Find) -> List[float]:
    found = []
    for record in records:
        try:
            found.append(float(find(record)))
        except KeyError:
            continue
    return found


def _cell(records: Sequence[Record], find: Find, digits: int = 1) -> str:
    values = _values(records, find)
    return spread(values, digits) if values else ""


def _score(test: str, kind: str) -> Find:
    return lambda record: record.tests[test][kind]


def _score_of_bin(test: str, unit: str, name: str, kind: str) -> Find:
    return lambda record: record.bins(test, unit)[name][kind]


def _summary(pairs: Dict[str, Rows]) -> str:
    """Tabulate BLEU on every test set, and its average over several language pairs.

    The average is for rows that have them all. Of one pair, test sets may be too different for it.
    """
    columns = [(pair, test) for pair, rows in pairs.items() for test in _tests(rows)]
    body = []
    for row in dict.fromkeys(row for rows in pairs.values() for row in rows):
        found = [_values(pairs[pair].get(row, []), _score(test, "bleu")) for pair, test in columns]
        average = [f"{mean(map(mean, found)):.2f}" if all(found) else ""] * (len(pairs) > 1)
        few = any(0 < len(values) < FEWEST for values in found)
        cells = [spread(values) if values else "" for values in found]
        body.append([f"{row} {MARK}" if few else row, *cells, *average])
    header = [f"{pair} {test}" for pair, test in columns] + ["average"] * (len(pairs) > 1)
    return markdown(["BLEU", *header], body)


def _scores(rows: Rows) -> str:
    kinds = {"bleu": "BLEU", "chrf": "chrF", "bleu_tokenised": "tokenised BLEU"}
    kinds["bleu_compound_split"] = "compound-split BLEU"
    columns: List[Tuple[str, str]] = [
        (test, kind)
        for test in _tests(rows)
        for kind in kinds
        if any(kind in r.tests.get(test, {}) for rs in rows.values() for r in rs)
    ]
    header = ["position encoding", *(f"{test} {kinds[kind]}" for test, kind in columns), "seeds"]
    body = [
        [
            row,
            *(_cell(records, _score(test, kind)) for test, kind in columns),
            len(records),
        ]
        for row, records in rows.items()
    ]
    return markdown(header, body)


def _over_seeds(rows: Rows, baseline: str, test: str) -> str:
    """Tabulate differences from the baseline over seeds; empty if no row has enough seeds."""
    names, body = compared(rows, baseline, test)
    if not body:
        return ""
    shown = [name.replace("<=", "≤") for name in names]
    return markdown([f"{test}, over seeds: BLEU less {baseline}'s", *shown, "seeds"], body)


def _significance(folder: Path, pair: str, rows: Rows, baseline: str) -> str:
    """Tabulate p of every row against the baseline, for the first seed that both have, if any."""
    body = []
    bases = {record.seed: record for record in rows[baseline]}
    for test in _tests(rows):
        references = read_lines(references_path(folder, pair, test))
        lowercase = "case:lc" in rows[baseline][0].signatures["bleu"]
        for seed, others in _first_in_common(rows, baseline, test).items():
            base = bases[seed]
            systems = [(r.row, r.tests[test]["hypotheses"]) for r in others]
            for r in (base, *others):
                _require_same_references(r, test, references)
            found = p_values(base.tests[test]["hypotheses"], systems, references, lowercase)
            for r in others:
                gain = r.tests[test]["bleu"] - base.tests[test]["bleu"]
                p = found[r.row]
                cells = [p[t][m] for m in ("BLEU", "chrF2") for t in ("bootstrap", "randomisation")]
                body.append(
                    [test, r.row, seed, f"{gain:+.1f}", *(f"{value:.4f}" for value in cells)]
                )
    if not body:
        return ""
    header = ["test set", "against " + baseline, "seed", "BLEU gain", "p bootstrap, BLEU"]
    header += ["p randomisation, BLEU", "p bootstrap, chrF", "p randomisation, chrF"]
    return markdown(header, body)


def _first_in_common(rows: Rows, baseline: str, test: str) -> Dict[int, List[Record]]:
    """Group each row's record of the first seed that it shares with the baseline, by seed.

    One seed per row: these tests say nothing about other trainings, however many there are.
    """
    bases = {record.seed for record in rows[baseline] if test in record.tests}
    found: Dict[int, List[Record]] = {}
    for row, records in rows.items():
        shared = [r for r in records if test in r.tests and r.seed in bases]
        if row != baseline and shared:
            first = min(shared, key=lambda record: record.seed)
            found.setdefault(first.seed, []).append(first)
    return dict(sorted(found.items()))


def _require_same_references(record: Record, test: str, references: Sequence[str]) -> None:
    """Refuse a record of another preparation: each scoring writes the references again."""
    scored = record.tests[test]
    known = scored.get("references", digest(references))
    if known != digest(references) or len(scored["hypotheses"]) != len(references):
        raise UserError(
            f"{record.name} was scored against other references of {test} than those that lie "
            "beside it: score it again"
        )


def _lengths(rows: Rows, test: str, unit: str) -> str:
    """Tabulate BLEU, length ratio and share of outputs that ended, by source length."""
    sizes: Dict[str, int] = {}
    for records in rows.values():
        for record in records:
            for name, found in record.bins(test, unit).items():
                sizes.setdefault(name, found["sentences"])
    if not sizes:
        return ""
    header = [f"{test}: source {unit}"]
    header += [f"{name.replace('<=', '≤')} ({size:,} pairs)" for name, size in sizes.items()]
    body = []
    for row, records in rows.items():
        if not any(record.bins(test, unit) for record in records):
            continue
        for kind, label, digits in (
            ("bleu", "BLEU", 1),
            ("length_ratio", "length ratio", 2),
            ("ended", "ended by themselves", 3),
        ):
            finds = [_score_of_bin(test, unit, name, kind) for name in sizes]
            body.append([f"{row}: {label}", *(_cell(records, find, digits) for find in finds)])
    return markdown(header, body)


def _cost(rows: Rows) -> str:
    columns = {
        "parameters": (lambda r: r.training["parameters"], 0),
        "of dynamics or table": (lambda r: r.position_parameters["dynamics"], 0),
        "of initial values": (lambda r: r.position_parameters["initial values"], 0),
        "solver error, encoder": (lambda r: r.solver_errors["encoder"], 4),
        "solver error, decoder": (lambda r: r.solver_errors["decoder"], 4),
        "updates": (lambda r: r.training["updates"], 0),
        "best validation loss (nll, base 2)": (lambda r: r.training["valid_nll_loss"], 3),
        "target words/s": (lambda r: r.training["words_per_second"], 0),
        "peak GiB, host": (lambda r: r.training["peak_host_memory"], 2),
        "peak GiB, device": (lambda r: r.training["peak_device_memory"], 2),
    }
    records = [r for rs in rows.values() for r in rs]
    columns = {name: c for name, c in columns.items() if _values(records, c[0])}
    body = [
        [row, *(_cell(rs, find, digits) for find, digits in columns.values())]
        for row, rs in rows.items()
    ]
    return markdown(["cost", *columns], body)


def _about(records: Sequence[Record]) -> List[str]:
    """Return how the figures of a folder were made, one line each."""
    lines = [f"{kind}: `{value}`" for r in records for kind, value in r.signatures.items()]
    lines += [f"speed and memory on: {r.machine}" for r in records if r.machine]
    return [*lines, "words/s can be compared only if nothing else ran beside the trainings"]
