"""Questions about passages, in the files of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018)."""

import json
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Tuple

from fairseq_floater.errors import MALFORMED, UserError, first_line


class Answer(NamedTuple):
    """A stretch of a passage, and the number of its first character there."""

    text: str
    begin: int

    @property
    def end(self) -> int:
        """The number of the character after the last."""
        return self.begin + len(self.text)


class Question(NamedTuple):
    """A question about a passage.

    Attributes:
        id: an identifier that no other question has.
        text: the text of the question.
        passage: the number of the passage.
        answers: as several people gave them; none if the passage does not say.
    """

    id: str
    text: str
    passage: int
    answers: Tuple[Answer, ...]


class Squad(NamedTuple):
    """The content of a file."""

    passages: List[str]
    questions: List[Question]


def read_squad(path: Path) -> Squad:
    """Read a file in the layout of SQuAD.

    Raises:
        UserError: if there is no such file, it has another layout or no questions, or a question
            has a fault (see ``faults``).
    """
    if not path.is_file():
        raise UserError(f"no questions at {path}: prepare them with data-prep/squad.sh")
    found = parse_squad(path.read_bytes(), str(path))
    if not found.questions:
        raise UserError(f"{path} has no questions: get it from its publisher")
    wrong = list(faults(found))
    if wrong:
        raise UserError(
            f"{path}: {len(wrong):,} of {len(found.questions):,} questions have faults, the first: "
            f"{wrong[0].text}: leave them out with data-prep/squad.sh"
        )
    return found


def parse_squad(content: bytes, name: str) -> Squad:
    """Return what a file with this content says, even if its questions have faults.

    Raises:
        UserError: with the file's name, if it has another layout.
    """
    found = Squad([], [])
    try:
        for article in json.loads(content)["data"]:
            for paragraph in article["paragraphs"]:
                found.questions.extend(_questions(paragraph, len(found.passages)))
                found.passages.append(_text(paragraph["context"]))
    except MALFORMED as error:
        raise UserError(
            f"{name} is not laid out as SQuAD's files are ({first_line(error)}): get it from its "
            "publisher"
        ) from None
    return found


def _text(given: Any) -> str:
    """Return a text, which must be one that can be written again."""
    if not isinstance(given, str):
        raise TypeError(f"{given!r:.40} is not a text")
    given.encode("utf-8")
    return given


def _questions(paragraph: Any, passage: int) -> Iterator[Question]:
    for asked in paragraph["qas"]:
        answers = tuple(
            Answer(_text(given["text"]), int(given["answer_start"]))
            for given in asked.get("answers", ())
        )
        yield Question(str(asked["id"]), _text(asked["question"]), passage, answers)


class Fault(NamedTuple):
    """A fault of a question: the question's number in the file, and a sentence about the fault."""

    number: int
    text: str


def faults(squad: Squad) -> Iterator[Fault]:
    """Yield the first fault of every question that has one."""
    seen = set()
    for number, question in enumerate(squad.questions):
        passage = squad.passages[question.passage]
        shifted = [a for a in question.answers if passage[max(a.begin, 0) : a.end] != a.text]
        if question.id in seen:
            yield Fault(number, f"question {question.id} is there twice")
        elif not question.text.strip():
            yield Fault(number, f"question {question.id} is empty")
        elif not passage.strip():
            yield Fault(number, f"the passage of question {question.id} is empty")
        elif any(not a.text.strip() for a in question.answers):
            yield Fault(number, f"an answer to question {question.id} is empty")
        elif shifted:
            text, begin = shifted[0]
            where = f"not at character {begin} of its passage"
            yield Fault(number, f"the answer {text!r} to question {question.id} is {where}")
        seen.add(question.id)
