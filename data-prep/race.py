"""Turn published multiple-choice questions into splits, with a passage and its questions per line.

    python data-prep/race.py race RACE --out bin
    python data-prep/race.py mctest folder --out bin

writes bin/{train,valid,test}.jsonl and test1.jsonl, with each line laid out as a file of RACE.  For
RACE, test has the questions of middle schools and test1 those of high schools.  For MCTest, test
has those of mc500 and test1 those of mc160; train and valid have both.  Files are read in the order
of their names.  Passages with a fault, such as an answer that is not one of the options, are left
out, counted and named.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splits import Report, split_up
from stages import UserError, join_lines, lines_of, report_errors, write

from fairseq_floater.data import parse_passage
from fairseq_floater.errors import MALFORMED

Json = dict[str, Any]
Found = tuple[str, Json]  # where a passage was found, and what is there

COLUMNS = 23  # of MCTest: name, properties, story, and four times a question and four options


def read_race(folder: Path, part: str) -> Iterator[Found]:
    """Yield the files of a part such as train/middle, ordered by the numbers in their names."""
    files = sorted(folder.glob(f"{part}/*.txt"), key=lambda path: (len(path.name), path.name))
    if not files:
        raise UserError(f"{folder} has no {part}/*.txt: unpack the archive of RACE there")
    for path in files:
        try:
            yield str(path), dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path} is not a RACE file ({error}): unpack the archive again"
            ) from None


def read_mctest(folder: Path, part: str) -> Iterator[Found]:
    """Yield the stories of a part such as mc500.train, with the letters of their answers."""
    stories, answers = (lines(folder / f"{part}.{ending}") for ending in ("tsv", "ans"))
    if len(stories) != len(answers):
        raise UserError(f"{part}.tsv and .ans in {folder} differ in length: get them again")
    for number, (story, letters) in enumerate(zip(stories, answers), 1):
        columns, where = story.split("\t"), f"{folder / part}.tsv, line {number}"
        if len(columns) != COLUMNS:
            raise UserError(f"{where} has {len(columns)} columns, not {COLUMNS}: get it again")
        asked = [columns[start : start + 5] for start in range(3, COLUMNS, 5)]
        yield (
            where,
            {
                "id": columns[0],
                "article": columns[2].replace("\\newline", "\n").replace("\\tab", " "),
                # "one: " or "multiple: " before a question says how many sentences tell its answer.
                "questions": [question.partition(": ")[2] for question, *_ in asked],
                "options": [options for _, *options in asked],
                "answers": letters.split("\t"),
            },
        )


def lines(path: Path) -> list[str]:
    """Return the lines of a file."""
    try:
        return lines_of(path.read_bytes(), path)
    except FileNotFoundError:
        raise UserError(f"no {path}: run data-prep/race.sh, which gets it") from None


CORPORA = {
    "race": (
        read_race,
        {
            "train": ("train/middle", "train/high"),
            "valid": ("dev/middle", "dev/high"),
            "test": ("test/middle",),
            "test1": ("test/high",),
        },
    ),
    "mctest": (
        read_mctest,
        {
            "train": ("mc500.train", "mc160.train"),
            "valid": ("mc500.dev", "mc160.dev"),
            "test": ("mc500.test",),
            "test1": ("mc160.test",),
        },
    ),
}


def prepare(name: str, folder: Path, out: Path) -> Report:
    """Write the splits of a corpus, and return the figures of each."""
    read, splits = CORPORA[name]
    report: Report = {}
    for split, parts in splits.items():
        good, bad, questions = [], [], 0
        for where, found in (passage for part in parts for passage in read(folder, part)):
            try:
                questions += len(parse_passage(found, len(good))[1])
                good.append(json.dumps(found, ensure_ascii=False))
            except MALFORMED as error:
                bad.append(f"{where}: {error}")
        if not good:
            raise UserError(
                f"{folder} has nothing for {split} ({bad[0]}): get it again from its publisher"
            )
        write(out / f"{split}.jsonl", join_lines(good))
        report[split] = {"passages": len(good), "questions": questions, "left out": bad}
    return report


if __name__ == "__main__":
    sys.exit(report_errors(lambda: split_up(__doc__, CORPORA, prepare, "passages")))
