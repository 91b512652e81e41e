"""Compare rows with a baseline over seeds: this speaks for other trainings, not other sentences."""

import re
from statistics import mean, stdev
from typing import Dict, List, Optional, Sequence, Tuple

from scipy.stats import t as student
from scipy.stats import ttest_1samp

from fairseq_floater.errors import UserError
from fairseq_floater.results.record import Record

#: a row with fewer seeds is marked, and decides nothing
FEWEST = 3

#: BLEU by column (all sentences, or those of a bin) and seed
Columns = Dict[str, Dict[int, float]]

#: BLEU minus that of the baseline with the same seed, by row and column
Differences = Dict[str, Dict[str, List[float]]]

ALL = "all"


def require_same_training(records: Sequence[Record]) -> None:
    """Refuse seeds of one row that were trained or translated with different commands.

    Also refuse rows that were scored against different references of the same test set, or by
    different measures, as in lower case and not (versions of sacreBLEU may differ). Only what
    both of two records say is compared: older records have no commands, and a test set that was
    added later has been translated with some seeds only.

    Args:
        records: the records of one experiment.

    Raises:
        UserError: naming two records, and the first word that differs, or the test set.
    """
    _require_one_reference(records)
    _require_one_measure(records)
    first: Dict[Tuple[str, str, str], Tuple[str, List[str]]] = {}
    for record in records:
        for step, text in {**record.commands, **_circumstances(record)}.items():
            here = _seedless(text) or ["nothing"]
            known, there = first.setdefault((record.pair, record.row, step), (record.name, here))
            if there != here:
                pairs = zip([*there, "its end"], [*here, "its end"])
                old, new = next((a, b) for a, b in pairs if a != b)
                raise UserError(
                    f"{known} and {record.name} are not seeds of one row: {step} had {old}, "
                    f"then {new}: remove one of them, or give --seeds"
                )


def _require_one_reference(records: Sequence[Record]) -> None:
    """Refuse records that do not agree on the references of a test set."""
    first: Dict[Tuple[str, str], Tuple[str, str]] = {}
    for record in records:
        for test, scores in record.tests.items():
            if (here := scores.get("references")) is None:  # older records do not say
                continue
            known, there = first.setdefault((record.pair, test), (record.name, here))
            if there != here:
                raise UserError(
                    f"{known} and {record.name} were scored against different references (texts, "
                    f"labels or answers) of {test}: prepare the data again and score both"
                )


def _require_one_measure(records: Sequence[Record]) -> None:
    """Refuse records of one pair whose scores have different signatures."""
    first: Dict[Tuple[str, str], Tuple[str, str]] = {}
    for record in records:
        for kind, signature in record.signatures.items():
            here = re.sub(r"\|?version:[^|]*", "", signature)
            known, there = first.setdefault((record.pair, kind), (record.name, here))
            if there != here:
                raise UserError(
                    f"{known} and {record.name} cannot be compared: {kind} is {there}, then "
                    f"{here}: score both on one corpus"
                )


def require_alike(records: Sequence[Record], corpus: bool = True) -> None:
    """Refuse rows whose trainings differ, see ``first_difference``.

    Raises:
        UserError: naming two records and what differs.
    """
    if found := first_difference(records, corpus):
        raise UserError(f"{found}: train one of them again, like the other")


def first_difference(records: Sequence[Record], corpus: bool = True) -> Optional[str]:
    """Return in what the trainings of two rows differ: length, learning rate, library or corpus.

    A row whose name has ``-lr-`` is about its rate, which may then differ.

    Args:
        records: the records of one language pair or task.
        corpus: also require the same corpus; for a fine-tuned model, the corpus is known only
            together with what the model starts from, which differs between rows.

    Returns:
        the names of two records and what differs; None if all are alike.
    """
    first: Dict[str, Tuple[str, str]] = {}
    for record in records:
        found, command = _circumstances(record), record.commands.get("train", "")
        if corpus and (name := re.search(r"# corpus (\w+)", command)):
            found["the corpus"] = name[1]
        if "-lr-" not in record.row and (rate := re.search(r"--lr (\S+)", command)):
            found["--lr"] = rate[1]
        for what, here in found.items():
            known, there = first.setdefault(what, (record.name, here))
            if there != here:
                return (
                    f"{known} and {record.name} cannot be compared: {what} was "
                    f"{there or 'nothing'}, then {here or 'nothing'}"
                )
    return None


def _circumstances(record: Record) -> Dict[str, str]:
    """Return how long a run was trained, if that is fixed, and what was preloaded."""
    found = {}
    if "train" in record.commands and "--patience" not in record.commands.get("duration", ""):
        found["the number of updates"] = str(record.training.get("updates", "unknown"))
    codes = record.training.get("code", ())  # one for each time that it was started or resumed
    if libraries := list(dict.fromkeys(code.partition("preloaded: ")[2] for code in codes)):
        found["the library that was preloaded"] = " and then ".join(libraries)
    return found


def _seedless(command: str) -> List[str]:
    """Return a command's words without its launcher, its seed, and the base model of that seed."""
    command = re.sub(r"^.*?(\S*/)?(?=fairseq-train )", "", command)
    return re.sub(r"(--seed |/seed)\d+|(, base )\w+", r"\1\2N", command).split()


def differences(table: Dict[str, Columns], baseline: str) -> Differences:
    """Return BLEU minus that of the baseline with the same seed, by row and column."""
    base = table[baseline]
    return {
        row: {
            column: [
                scores[seed] - base[column][seed]
                for seed in sorted(scores)
                if seed in base.get(column, ())
            ]
            for column, scores in columns.items()
        }
        for row, columns in table.items()
        if row != baseline
    }


def columns_of(records: Sequence[Record], test: str) -> Columns:
    """Return the BLEU of a row's seeds on a test set and, if it has bins, on each of them."""
    columns: Columns = {}
    for record in records:
        if test in record.tests:
            columns.setdefault(ALL, {})[record.seed] = record.tests[test]["bleu"]
        for words, scored in record.bins(test).items():
            columns.setdefault(words, {})[record.seed] = scored["bleu"]
    return columns


def p_of(paired: Sequence[float]) -> Optional[float]:
    """Return the two-sided p of Student's t-test that the mean of paired differences is 0.

    None for fewer than ``FEWEST`` differences, or if all are the same.
    """
    if len(paired) < FEWEST or stdev(paired) == 0.0:
        return None
    return float(ttest_1samp(paired, 0.0).pvalue)


def interval(paired: Sequence[float]) -> Tuple[float, float]:
    """Return the 95 % interval of the mean difference, by Student's t."""
    half = student.ppf(0.975, len(paired) - 1) * stdev(paired) / len(paired) ** 0.5
    return mean(paired) - half, mean(paired) + half


def holm(values: Sequence[float]) -> List[float]:
    """Correct p-values as Holm (1979) does: the k-th least of n times n - k + 1, never falling."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, largest = [0.0] * len(values), 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, values[number] * (len(values) - rank)))
        corrected[number] = largest
    return corrected


def with_enough_seeds(found: Differences) -> Differences:
    """Leave out cells with fewer than ``FEWEST`` seeds in common with the baseline."""
    enough = {
        row: {column: paired for column, paired in columns.items() if len(paired) >= FEWEST}
        for row, columns in found.items()
    }
    return {row: columns for row, columns in enough.items() if columns}


def p_values(found: Differences) -> Dict[Tuple[str, str], float]:
    """Return p by row and column, after Holm's correction over all, for cells with a test.

    All sentences of a test set repeat those of its bins, so they are tested only if it has none.
    (In a summary of several experiments, columns have other names, and all are tested.)
    """
    tested = {
        (row, column): p
        for row, columns in found.items()
        for column, paired in columns.items()
        if (column != ALL or len(columns) == 1) and (p := p_of(paired)) is not None
    }
    return dict(zip(tested, holm(list(tested.values()))))


def shown(paired: Sequence[float], p: Optional[float]) -> str:
    """Format a mean difference, its deviation over seeds, its 95 % interval, and its p."""
    if not paired:
        return ""
    low, high = interval(paired)
    text = f"{mean(paired):+.1f} ± {stdev(paired):.1f} [{low:+.1f}, {high:+.1f}]"
    return text if p is None else f"{text} (p {p:.3f})"


def compared(
    rows: Dict[str, List[Record]], baseline: str, test: str
) -> Tuple[List[str], List[List[str]]]:
    """Return columns, and each row's differences with their p, corrected over the whole table.

    Rows with fewer than ``FEWEST`` seeds in common with the baseline are left out.
    """
    table = {row: columns_of(records, test) for row, records in rows.items()}
    found = with_enough_seeds(differences(table, baseline))
    names = list(dict.fromkeys(column for columns in found.values() for column in columns))
    seeds = [str(max(map(len, columns.values()))) for columns in found.values()]
    return names, [[*line, count] for line, count in zip(lines(found, names), seeds)]


def lines(found: Differences, columns: Sequence[str]) -> List[List[str]]:
    """Return a line per row: its name, and its difference in each column with the corrected p."""
    p = p_values(found)
    return [
        [row, *(shown(of_row.get(name, []), p.get((row, name))) for name in columns)]
        for row, of_row in found.items()
    ]
