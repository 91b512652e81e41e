"""Turn a published GLUE task into plain text: one file for each input and one for the labels.

    python data-prep/glue.py rte --published RTE.zip --out raw

writes raw/{train,valid,test}.{input0,input1,label}, with the same row on the same line of each.
Test sets have no label, and tasks of single sentences have no input1.  MNLI has two validation and
two test sets: valid and test are matched, valid1 and test1 mismatched.  Labels are those of the
files; a score of STS-B is divided by five, as in fairseq's own script.  Where it is known, the MD5
of the commonly used file is checked.  Files in an archive are read, never extracted.
label.dict.txt, for fairseq-preprocess, has the labels in an order that does not depend on the rows.

Rows with another number of columns than the file should have are left out, counted and named.  In a
test set they are an error, since predictions are submitted by row number.  A label that the task
does not have is also an error.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages import Parser, UserError, join_lines, lines_of, report_errors, within, write
from zips import opened_zip, read_member

#: the lines of a split's files, by their endings
Rows = dict[str, list[str]]

BINARY = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Table:
    """The layout of a published file: columns count from 0, and its first line may name them."""

    columns: int
    inputs: Sequence[int]
    label: int | None = None
    header: bool = True


@dataclass(frozen=True)
class Task:
    """The files of a task, by our names for their splits, and its labels; none if it has scores."""

    files: dict[str, tuple[str, Table]]
    labels: Sequence[str] = ()
    sums: Sequence[str] = ()  # MD5 of the published files, in the order of ``files``


def splits(train: Table, test: Table, valid: Table | None = None) -> dict[str, tuple[str, Table]]:
    """Return the usual three files."""
    return {
        "train": ("train.tsv", train),
        "valid": ("dev.tsv", valid or train),
        "test": ("test.tsv", test),
    }


PAIRS, PAIRS_TEST = Table(4, (1, 2), 3), Table(3, (1, 2))
MNLI_DEV, MNLI_TEST = Table(16, (8, 9), 15), Table(10, (8, 9))
TASKS = {
    "cola": Task(
        splits(Table(4, (3,), 1, header=False), Table(2, (1,))),
        BINARY,
        (
            "c79d4693b8681800338aa044bf9e797b",
            "c5475ccefc9e7ca0917294b8bbda783c",
            "d8721b7dedda0dcca73cebb2a9f4259f",
        ),
    ),
    "sst-2": Task(
        splits(Table(2, (0,), 1), Table(2, (1,))),
        BINARY,
        (
            "da409a0a939379ed32a470bc0f7fe99a",
            "268856b487b2a31a28c0a93daaff7288",
            "3230e4efec76488b87877a56ae49675a",
        ),
    ),
    "mrpc": Task(splits(Table(5, (3, 4), 0), Table(5, (3, 4))), BINARY),
    "qqp": Task(splits(Table(6, (3, 4), 5), Table(3, (1, 2))), BINARY),
    "sts-b": Task(
        splits(Table(10, (7, 8), 9), Table(9, (7, 8))),
        (),
        (
            "4f7a86dde15fe4832c18e5b970998672",
            "5f4d6b0d2a5f268b1b56db773ab2f1fe",
            "339b5817e414d19d9bb5f593dd94249c",
        ),
    ),
    "mnli": Task(
        {
            "train": ("train.tsv", Table(12, (8, 9), 11)),
            "valid": ("dev_matched.tsv", MNLI_DEV),
            "valid1": ("dev_mismatched.tsv", MNLI_DEV),
            "test": ("test_matched.tsv", MNLI_TEST),
            "test1": ("test_mismatched.tsv", MNLI_TEST),
        },
        ("contradiction", "entailment", "neutral"),
    ),
    "qnli": Task(splits(PAIRS, PAIRS_TEST), ENTAILMENT),
    "rte": Task(
        splits(PAIRS, PAIRS_TEST),
        ENTAILMENT,
        (
            "d2844f558d111a16503144bb37a8165f",
            "973cb4178d4534cf745a01c309d4a66c",
            "6041008f3f3e48704f57ce1b88ad2e74",
        ),
    ),
}
#: the GLUE script's split of MRPC, which is published as a training and a test set
MRPC_PARTS = ("msr_paraphrase_train.txt", "mrpc_dev_ids.tsv", "msr_paraphrase_test.txt")


class Published:
    """The files of a task, in a folder or in the only folder of a zip archive."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, name: str) -> bytes:
        if self.path.is_dir():
            if not (self.path / name).is_file():
                raise UserError(f"{self.path} has no {name}: get it from its publisher")
            return (self.path / name).read_bytes()
        with opened_zip(self.path) as archive:
            for member in archive.namelist():
                if member.count("/") == 1 and member.endswith(f"/{name}"):
                    return read_member(archive, member)
        raise UserError(f"{self.path} has no {name}: get it from its publisher")


def rows(
    content: bytes, name: str, table: Table, bad: list[int]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and columns of each row; add to ``bad`` the numbers of other lines."""
    for number, line in enumerate(lines_of(content, name), 1):
        columns = line.removeprefix("\ufeff").split("\t")
        if number == 1 and table.header:
            continue
        if len(columns) != table.columns:
            bad.append(number)
        else:
            yield number, columns


def label_of(text: str, labels: Sequence[str], where: str) -> str:
    """Return what is written for a label; a score from 0 to 5 is divided by 5."""
    if labels:
        if text not in labels:
            raise UserError(
                f"{where}: its label is {text!r}, not one of {', '.join(labels)}: correct the "
                "line, or get the file from its publisher"
            )
        return text
    try:
        if 0 <= (score := float(text)) <= 5:
            return str(score / 5)
    except ValueError:
        pass
    raise UserError(
        f"{where}: its score is {text!r}, not a number from 0 to 5: correct the line, or get the "
        "file from its publisher"
    )


def read_table(
    content: bytes, name: str, table: Table, labels: Sequence[str]
) -> tuple[Rows, list[int]]:
    """Return the lines of each file to write, by its ending, and the numbers of rows left out."""
    bad: list[int] = []
    found: Rows = {f"input{number}": [] for number in range(len(table.inputs))}
    if table.label is not None:
        found["label"] = []
    for number, columns in rows(content, name, table, bad):
        for place, column in enumerate(table.inputs):
            found[f"input{place}"].append(" ".join(columns[column].split()))
        if table.label is not None:
            found["label"].append(label_of(columns[table.label], labels, f"{name}, line {number}"))
    if not found["input0"]:
        raise UserError(f"{name} has no row of {table.columns} columns: get it from its publisher")
    return found, bad


def split_mrpc(published: Published, out: Path) -> None:
    """Write train.tsv, dev.tsv and test.tsv, split as the GLUE script does."""
    train, ids, test = MRPC_PARTS
    table, bad = TASKS["mrpc"].files["train"][1], []
    held_out = {tuple(line.split("\t")) for line in lines_of(published.read(ids), ids)}
    parts: dict[str, list[str]] = {"train.tsv": [""], "dev.tsv": [""], "test.tsv": [""]}
    for _, columns in rows(published.read(train), train, table, bad):
        name = "dev.tsv" if (columns[1], columns[2]) in held_out else "train.tsv"
        parts[name].append("\t".join(columns))
    for _, columns in rows(published.read(test), test, table, bad):
        parts["test.tsv"].append("\t".join(columns))
    if bad or len(parts["dev.tsv"]) - 1 != len(held_out):
        raise UserError(f"{train} and {ids} do not belong together: get them from their publisher")
    for name, lines in parts.items():
        write(out / name, join_lines(lines))


@dataclass(frozen=True)
class Choice:
    """The choice of rows that ``--train-rows`` and ``--hold-out`` make."""

    train_rows: int
    hold_out: int

    def of(self, splits: dict[str, Rows]) -> dict[str, Rows]:
        """Return the splits with the chosen rows."""
        train = {
            ending: lines[: self.train_rows or None] for ending, lines in splits["train"].items()
        }
        if not self.hold_out:
            return {**splits, "train": train}
        last = self.hold_out - 1  # of every N rows
        held = {ending: lines[last :: self.hold_out] for ending, lines in train.items()}
        rest = {
            ending: [line for number, line in enumerate(lines) if number % self.hold_out != last]
            for ending, lines in train.items()
        }
        tests = {split: rows for split, rows in splits.items() if split.startswith("test")}
        return {"train": rest, "valid": held, **tests}


def prepare(
    name: str, published: Published, out: Path, check: bool, choice: Choice
) -> dict[str, dict]:
    """Write the plain text of a task, and return the figures of every split."""
    task, report = TASKS[name], {}
    splits: dict[str, Rows] = {}
    left_out: dict[str, list[int]] = {}
    for (split, (file, table)), wanted in zip(
        task.files.items(), task.sums or [None] * len(task.files)
    ):
        content, where = published.read(file), f"{published.path}/{file}"
        if check and wanted and (got := hashlib.md5(content).hexdigest()) != wanted:
            raise UserError(f"{where} has md5 {got}, not {wanted}: get it from its publisher")
        found, bad = read_table(content, where, table, task.labels)
        if bad and split.startswith("test"):
            raise UserError(
                f"{where}: {len(bad):,} rows have another number of columns than {table.columns}, "
                f"the first in line {bad[0]}; without them, predictions would not stand in the "
                "lines of their rows: get it from its publisher"
            )
        splits[split], left_out[split] = found, bad
    chosen = choice.of(splits)
    if choice.hold_out:
        left_out["valid"] = []  # its rows are rows of train
    if not chosen["valid"]["input0"]:
        raise UserError(
            f"--hold-out {choice.hold_out} holds out none of the "
            f"{len(chosen['train']['input0']):,} rows to train on: give a smaller number"
        )
    for split, found in chosen.items():
        for ending, lines in found.items():
            write(out / f"{split}.{ending}", join_lines(lines))
        report[split] = {
            "rows": len(found["input0"]),
            "left out": left_out[split],
            "empty": sum(not line for place in found if place != "label" for line in found[place]),
            "labels": dict(Counter(found.get("label", ()))) if task.labels else {},
        }
    unseen = set(report["valid"]["labels"]) - set(report["train"]["labels"])
    if unseen:
        fix = "raise --train-rows" if choice.train_rows else "correct the rows"
        raise UserError(
            f"{published.path}: no training row has the label {', '.join(sorted(unseen))}, "
            f"which rows of valid have: {fix}, or get the file from its publisher"
        )
    if task.labels:
        write(out / "label.dict.txt", join_lines([f"{label} 1" for label in task.labels]))
    return report


def show(report: dict[str, dict]) -> None:
    """Print the size of every split, and everything that is not as it should be."""
    for split, counts in report.items():
        labels = ", ".join(f"{label} {n:,}" for label, n in sorted(counts["labels"].items()))
        print(f"{split}: {counts['rows']:,} rows{f' ({labels})' if labels else ''}")
        if bad := counts["left out"]:
            lines = ", ".join(map(str, bad[:20])) + (" ..." if len(bad) > 20 else "")
            print(f"{split}: {len(bad):,} left out for their number of columns, lines {lines}")
        if counts["empty"]:
            print(f"{split}: {counts['empty']:,} sentences are empty")


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument(
        "--published", type=Path, required=True, help="folder of its files, or a zip"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    number = within(int, 0, 1_000_000_000)
    parser.add_argument("--train-rows", type=number, default=0, help="first rows of train; 0: all")
    help = "use every N-th row of train as valid, in place of the published set; 0: none"
    parser.add_argument("--hold-out", type=number, default=0, metavar="N", help=help)
    parser.add_argument("--other-files", action="store_true", help="do not check their MD5")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    published = Published(args.published)
    if args.task == "mrpc":
        split_mrpc(published, args.out / "split")
        published = Published(args.out / "split")
    choice = Choice(args.train_rows, args.hold_out)
    report = prepare(args.task, published, args.out, not args.other_files, choice)
    write(args.out / "report.json", json.dumps(report, indent=1).encode())
    show(report)


if __name__ == "__main__":
    sys.exit(report_errors(main))
