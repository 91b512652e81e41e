"""Report records without tests, such as those of a first stage, as Markdown: their losses."""

from pathlib import Path
from typing import Collection, List

from fairseq_floater.results.over_seeds import require_same_training
from fairseq_floater.results.page import by_pair, markdown, spread, write_page
from fairseq_floater.results.record import Record, read_records


def without_tests(folder: Path) -> bool:
    """True if no record in a folder has a test; raises as ``read_records`` does."""
    return not any(record.tests for record in read_records(folder))


def report_losses(folder: Path, out: Path, title: str = "", seeds: Collection[int] = ()) -> None:
    """Write losses on the validation set, in bits per token, to ``out``.md.

    Args:
        folder: the folder with the records of one experiment.
        out: path without its ending.
        title: title of the page; the experiment's name if empty.
        seeds: use only these seeds; all if empty.

    Raises:
        UserError: if there are no records, or the commands of a row's seeds differ.
    """
    records = read_records(folder, seeds)
    require_same_training(records)
    body = [
        _line(pair, row, of_row)
        for pair, rows in by_pair(records).items()
        for row, of_row in rows.items()
    ]
    header = ["corpus", "row", "updates", "last loss", "lowest loss", "seeds"]
    notes = "- loss: on the validation set, in bits per token, mean over seeds"
    write_page(out, [f"# {title or records[0].experiment}", markdown(header, body), notes])


def _line(pair: str, row: str, records: List[Record]) -> List[str]:
    found = [record.training.get("valid_nll_losses", {}) for record in records]
    ends = [(max(map(int, losses)), losses) for losses in found if losses]
    last = [losses[str(updates)] for updates, losses in ends]
    lowest = [min(losses.values()) for _, losses in ends]
    updates = ", ".join(f"{number:,}" for number in dict.fromkeys(number for number, _ in ends))
    return [
        pair,
        row,
        updates,
        *(spread(x, 3) if x else "" for x in (last, lowest)),
        str(len(found)),
    ]
