"""Questions about passages with options to choose from, as in RACE (Lai et al. 2017)."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from fairseq_floater.data.pairs import ByLength, Layout, batch_of, symbols
from fairseq_floater.data.tokenizer_json import PieceTokenizer
from fairseq_floater.errors import MALFORMED, UserError

LETTERS = "ABCDEFGHIJ"

#: a blank, where RACE has the option in a question
_BLANK = re.compile("_+")


class Choice(NamedTuple):
    """A question about a passage.

    Attributes:
        passage: the number of the passage.
        options: with the question before each, or around it.
        label: the number of the right one, from 0; None if it is unknown.
    """

    passage: int
    options: Tuple[str, ...]
    label: Optional[int]


class Choices(NamedTuple):
    """The content of a file; every question has the same number of options."""

    passages: List[str]
    questions: List[Choice]


def read_choices(path: Path) -> Choices:
    """Read a file in which every line is a passage with its questions, as in a file of RACE.

    Raises:
        UserError: naming the line, if one has another layout or a fault.
    """
    if not path.is_file():
        raise UserError(f"no questions at {path}: prepare them with data-prep/race.sh")
    found = Choices([], [])
    if not path.stat().st_size:
        raise UserError(f"{path} has no questions: prepare it again")
    # Not with splitlines, which also ends lines at characters that texts may have.
    for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
        try:
            passage, questions = parse_passage(json.loads(line), len(found.passages))
        except MALFORMED as error:
            raise UserError(f"{path}, line {number}: {error}: prepare it again") from None
        found.passages.append(passage)
        found.questions.extend(questions)
    if not found.questions:
        raise UserError(f"{path} has no questions: prepare it again")
    widths = {len(question.options) for question in found.questions}
    if len(widths) > 1:
        raise UserError(
            f"{path} has questions of {min(widths)} and of {max(widths)} options: put them into "
            "files of their own"
        )
    unknown = sum(question.label is None for question in found.questions)
    if 0 < unknown < len(found.questions):
        raise UserError(
            f"{path} has {unknown:,} questions without an answer among {len(found.questions):,}: "
            "put them into a file of their own"
        )
    return found


def parse_passage(published: Any, number: int) -> Tuple[str, List[Choice]]:
    """Return a passage and its questions, from their entry in a file of RACE.

    Args:
        published: the entry: ``article``, ``questions``, ``options`` of each, and ``answers`` as
            letters.
        number: the number of the passage.

    Raises:
        ValueError: saying what is wrong with it; or KeyError, TypeError, AttributeError.
    """
    json.dumps(published, ensure_ascii=False).encode("utf-8")  # one that can be written again
    passage, asked = " ".join(published["article"].split()), published["questions"]
    options, answers = published["options"], published.get("answers") or [None] * len(asked)
    if not passage:
        raise ValueError("its article is empty")
    if not len(asked) == len(options) == len(answers):
        counts = f"{len(asked)} questions, {len(options)} lists of options, {len(answers)} answers"
        raise ValueError(f"it has {counts}")
    questions = []
    for question, of_question, answer in zip(asked, options, answers):
        letters = LETTERS[: len(of_question)]
        if not question.strip():
            raise ValueError("a question is empty")
        if len(letters) < len(of_question):
            raise ValueError(f"the question {question!r} has more options than {LETTERS}")
        if len(letters) < 2 or not all(option.strip() for option in of_question):
            raise ValueError(f"the question {question!r} has fewer than two options, or empty ones")
        if answer is not None and answer not in tuple(letters):
            raise ValueError(f"the answer {answer!r} is not one of {', '.join(letters)}")
        texts = tuple(with_option(question, option) for option in of_question)
        questions.append(Choice(number, texts, None if answer is None else letters.index(answer)))
    return passage, questions


def with_option(question: str, option: str) -> str:
    """Put the option into the question's blanks, or after it, as fairseq does for RACE."""
    filled = _BLANK.sub(lambda _: option, question)
    return " ".join((filled if filled != question else f"{question} {option}").split())


class ChoiceRows(ByLength):
    """Items: a row ``<s> question and option </s> passage </s>`` per option, all in one batch.

    Args:
        choices: the questions.
        tokenizer: the tokenizer of the model.
        layout: the layout of the rows.
        max_positions: the longest row; a passage that would make a longer one is cut at its end.
        max_option: how many pieces of a question with its option are kept.

    Attributes:
        cut: how many questions have a passage that is cut.
        cut_options: how many pairs of a question and one of its options are cut.
    """

    def __init__(
        self,
        choices: Choices,
        tokenizer: PieceTokenizer,
        layout: Layout,
        max_positions: int,
        max_option: int,
    ):
        self.choices = choices
        self.layout = layout
        self.dictionary = dictionary = layout.dictionary
        self.passages = [symbols(text, tokenizer, dictionary) for text in choices.passages]
        options = [
            [symbols(text, tokenizer, dictionary) for text in question.options]
            for question in choices.questions
        ]
        self.options = [[pieces[:max_option] for pieces in given] for given in options]
        self.cut_options = sum(len(pieces) > max_option for given in options for pieces in given)
        self.max_positions = max_positions
        whole = [
            max(map(len, options)) + len(self.passages[question.passage]) + layout.special
            for options, question in zip(self.options, choices.questions)
        ]
        self.sizes = np.minimum(whole, max_positions)
        self.cut = int((np.array(whole) > max_positions).sum())

    def num_tokens(self, index: int) -> int:
        """Return the number of tokens of all options, which are the rows of a batch."""
        return int(self.sizes[index]) * len(self.options[index])

    def __getitem__(self, index: int) -> Dict[str, Any]:
        passage = self.passages[self.choices.questions[index].passage]
        rows = []
        for option in self.options[index]:
            room = self.max_positions - len(option) - self.layout.special
            rows.append(self.layout.joined(option, passage[:room]))
        return {"id": index, "rows": rows, "label": self.choices.questions[index].label}

    def collater(self, samples: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """Return a batch whose rows are the options, (questions * options, length), in order.

        ``target`` is (questions,), and missing if a label is unknown.
        """
        if not samples:
            return {}
        rows: List[Tensor] = [row for sample in samples for row in sample["rows"]]
        batch = batch_of(samples, rows, self.dictionary)
        labels = [sample["label"] for sample in samples]
        if None not in labels:
            batch["target"] = torch.tensor(labels)
        return batch
