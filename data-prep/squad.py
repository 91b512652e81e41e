"""Turn published questions about passages into the splits of a corpus, in SQuAD's own layout.

    python data-prep/squad.py 1.1 download --out data

writes data/{train,valid}.json, and test.json and so on if the corpus has test sets.  Questions with
a fault, such as an answer that is not where it should be, are left out, counted and named.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splits import Report, split_up
from stages import UserError, report_errors, write

from fairseq_floater import errors
from fairseq_floater.data import faults, parse_squad

HALF, XQUAD = "dev-v2.0.subset-cs224n.json", "dev-v1.1.subset-xquad.json"
HELD_OUT = 4  # every fourth article of the half is held out, in the order of titles

Json = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """The questions of a file for which ``keep(article, paragraph, question)`` is true.

    If ``joined``, each article is one passage.
    """

    file: str
    keep: Callable[[Json, Json, Json], bool] = lambda *_: True
    joined: bool = False


def read(path: Path) -> Json:
    """Return the content of a file, which must have the layout of SQuAD's files."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no {path}: run data-prep/squad.sh, which gets it") from None
    try:
        parse_squad(content, str(path))
    except errors.UserError as error:
        raise UserError(str(error)) from None
    return dict(json.loads(content))


def official(version: str) -> Callable[[Path], dict[str, Split]]:
    return lambda _: {
        "train": Split(f"train-v{version}.json"),
        "valid": Split(f"dev-v{version}.json"),
    }


def halves_answered(folder: Path) -> dict[str, Split]:
    """Train on the half, validate on XQuAD's passages from its articles, test on other articles.

    There are three test sets: test has the passages as they are, while test1 and test2 both have
    the passages of each article joined, for windows of two lengths. Articles that half-2.0
    validates on are left out of valid, since choices made on valid serve both corpora.
    """
    titles = {article["title"] for article in read(folder / HALF)["data"]}
    chosen_on = titles - set(held_out(folder))
    theirs = {
        p["context"] for article in read(folder / XQUAD)["data"] for p in article["paragraphs"]
    }
    return {
        "train": Split(HALF, lambda a, p, q: bool(q["answers"]) and p["context"] not in theirs),
        "valid": Split(XQUAD, lambda a, p, q: a["title"] in chosen_on),
        "test": Split(XQUAD, lambda a, p, q: a["title"] not in titles),
        "test1": Split(XQUAD, lambda a, p, q: a["title"] not in titles, joined=True),
        "test2": Split(XQUAD, lambda a, p, q: a["title"] not in titles, joined=True),
    }


def halves_with_unanswered(folder: Path) -> dict[str, Split]:
    """Validate on every fourth article, and train on the others."""
    titles = held_out(folder)
    return {
        "train": Split(HALF, lambda a, p, q: a["title"] not in titles),
        "valid": Split(HALF, lambda a, p, q: a["title"] in titles),
    }


def held_out(folder: Path) -> list[str]:
    """Return the titles of every fourth article of the half."""
    return sorted(article["title"] for article in read(folder / HALF)["data"])[::HELD_OUT]


CORPORA = {
    "1.1": official("1.1"),
    "2.0": official("2.0"),
    "half-1.1": halves_answered,
    "half-2.0": halves_with_unanswered,
}


def kept(published: Json, keep: Callable[[Json, Json, Json], bool]) -> Iterator[Json]:
    """Yield the articles with the questions that are kept, without paragraphs that have none."""
    for article in published["data"]:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            asked = [q for q in paragraph["qas"] if keep(article, paragraph, q)]
            if asked:
                paragraphs.append({**paragraph, "qas": asked})
        if paragraphs:
            yield {**article, "paragraphs": paragraphs}


def joined(articles: list[Json]) -> list[Json]:
    """Return the articles with all passages joined into one, and the answers moved accordingly."""
    found = []
    for article in articles:
        passage, asked = "", []
        for paragraph in article["paragraphs"]:
            passage += "\n" * bool(passage)
            for question in paragraph["qas"]:
                answers = [
                    {**answer, "answer_start": answer["answer_start"] + len(passage)}
                    for answer in question.get("answers", ())
                ]
                asked.append({**question, "answers": answers})
            passage += paragraph["context"]
        found.append({**article, "paragraphs": [{"context": passage, "qas": asked}]})
    return found


def without_faults(articles: list[Json]) -> tuple[list[Json], list[str]]:
    """Return the articles without the questions that have a fault, and a text on each fault."""
    wrong = {
        f.number: f.text for f in faults(parse_squad(json.dumps({"data": articles}).encode(), ""))
    }
    numbers = iter(range(sum(len(p["qas"]) for a in articles for p in a["paragraphs"])))
    good = list(kept({"data": articles}, lambda *_: next(numbers) not in wrong))
    return good, list(wrong.values())


def prepare(name: str, folder: Path, out: Path) -> Report:
    """Write the splits of a corpus, and return the figures of each."""
    report: Report = {}
    for split, of in CORPORA[name](folder).items():
        published = read(folder / of.file)
        articles, left_out = without_faults(list(kept(published, of.keep)))
        articles = joined(articles) if of.joined else articles
        if not articles:
            raise UserError(f"{folder / of.file} has nothing for {split}: get it again")
        content = {"version": published.get("version", ""), "data": articles}
        write(out / f"{split}.json", json.dumps(content, ensure_ascii=False).encode())
        asked = [q for a in articles for p in a["paragraphs"] for q in p["qas"]]
        report[split] = {
            "articles": len(articles),
            "passages": sum(len(a["paragraphs"]) for a in articles),
            "questions": len(asked),
            "without an answer": sum(not q.get("answers") for q in asked),
            "left out": left_out,
        }
    return report


if __name__ == "__main__":
    sys.exit(report_errors(lambda: split_up(__doc__, CORPORA, prepare, "questions")))
