"""Cut passages into overlapping windows, each placed behind the question about the passage."""

import unicodedata
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_floater.data.pairs import ByLength, Layout, batch_of, symbols
from fairseq_floater.data.squad import Question, Squad
from fairseq_floater.data.tokenizer_json import PieceTokenizer


class Cut(NamedTuple):
    """A text in pieces.

    Attributes:
        symbols: (pieces,) int64, of the dictionary.
        begins, ends: (pieces,) int64, the first character of each in the text, and the one after
            its last.
    """

    symbols: Tensor
    begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, text: str, tokenizer: PieceTokenizer, dictionary: Dictionary) -> "Cut":
        pieces = tokenizer.pieces(text)
        return cls(
            torch.tensor([dictionary.index(piece.name) for piece in pieces], dtype=torch.long),
            np.array([piece.begin for piece in pieces], dtype=np.int64),
            np.array([piece.end for piece in pieces], dtype=np.int64),
        )

    def span(self, begin: int, end: int) -> Tuple[int, int]:
        """Return the first and the last piece with a character from ``begin`` to ``end`` - 1."""
        first = int(np.searchsorted(self.ends, begin, side="right"))
        last = int(np.searchsorted(self.begins, end, side="left")) - 1
        return min(first, last), last


class Window(NamedTuple):
    """The pieces ``first`` to ``last`` - 1 of a passage, behind question number ``question``."""

    question: int
    first: int
    last: int


class QuestionWindows(ByLength):
    """Items: ``<s> question </s> pieces of the passage </s>`` and where in them the answer is.

    If there is no answer, or it is not wholly in a window, its place is 0, where ``<s>`` is
    (Devlin et al. 2019, section 4.3).

    Args:
        squad: the questions and their passages.
        tokenizer: the tokenizer of the model.
        layout: the layout of the items.
        max_positions: the longest item, in pieces.
        step: from the beginning of a window to that of the next, in pieces of the passage.
        max_question: how many pieces of a question are kept.

    Attributes:
        cut: how many questions are cut.
    """

    def __init__(
        self,
        squad: Squad,
        tokenizer: PieceTokenizer,
        layout: Layout,
        max_positions: int,
        step: int,
        max_question: int,
    ):
        self.squad = squad
        self.layout = layout
        self.dictionary = dictionary = layout.dictionary
        self.passages = [Cut.of(text, tokenizer, dictionary) for text in squad.passages]
        asked = [symbols(question.text, tokenizer, dictionary) for question in squad.questions]
        self.asked = [pieces[:max_question] for pieces in asked]
        self.cut = sum(len(pieces) > max_question for pieces in asked)
        self.windows = [
            Window(number, *ends)
            for number, question in enumerate(squad.questions)
            for ends in windows(
                len(self.passages[question.passage].symbols),
                max_positions - len(self.asked[number]) - layout.special,
                step,
            )
        ]
        self.sizes = np.array(
            [len(self.asked[w.question]) + w.last - w.first + layout.special for w in self.windows]
        )

    def question(self, index: int) -> Question:
        """Return the question of an item."""
        return self.squad.questions[self.windows[index].question]

    def characters(self, index: int, first: int, last: int) -> Tuple[int, int]:
        """Return where in the passage the places ``first`` to ``last`` of an item begin and end."""
        cut = self.passages[self.question(index).passage]
        shift = self.windows[index].first - self.passage_begin(index)
        begin, end = int(cut.begins[first + shift]), int(cut.ends[last + shift])
        # A tokenizer that strips accents ends a word before a mark that is its own character.
        text = self.squad.passages[self.question(index).passage]
        while end < len(text) and unicodedata.category(text[end]) == "Mn":
            end += 1
        return begin, end

    def passage_begin(self, index: int) -> int:
        """Return the place of the first piece of the passage in an item."""
        return self.layout.second_begins(self.asked[self.windows[index].question])

    def answer(self, index: int) -> Tuple[int, int]:
        """Return the places of the first and the last piece of the first answer, or 0 and 0."""
        window, question = self.windows[index], self.question(index)
        if not question.answers:
            return 0, 0
        given = question.answers[0]
        first, last = self.passages[question.passage].span(given.begin, given.end)
        if first < window.first or last >= window.last:
            return 0, 0
        shift = self.passage_begin(index) - window.first
        return first + shift, last + shift

    def __getitem__(self, index: int) -> Dict[str, Any]:
        window = self.windows[index]
        passage = self.passages[self.question(index).passage].symbols[window.first : window.last]
        return {
            "id": index,
            "source": self.layout.joined(self.asked[window.question], passage),
            "passage_begin": self.passage_begin(index),
            "answer": self.answer(index),
        }

    def collater(self, samples: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """Return a batch as fairseq expects it, with ``answer`` (batch, 2) and ``in_passage``.

        ``in_passage`` (batch, length) is true where an answer can begin and end, including 0.
        """
        if not samples:
            return {}
        batch = batch_of(samples, [sample["source"] for sample in samples], self.dictionary)
        lengths = batch["net_input"]["src_lengths"]
        places = torch.arange(int(lengths.max()))
        begins = torch.tensor([sample["passage_begin"] for sample in samples])
        inside = (places >= begins[:, None]) & (places < lengths[:, None] - 1)
        batch["in_passage"] = inside | (places == 0)
        batch["answer"] = torch.tensor([sample["answer"] for sample in samples])
        return batch


def windows(length: int, room: int, step: int) -> List[Tuple[int, int]]:
    """Return the first piece, and the one after the last, of windows over ``length`` pieces.

    Each window has ``room`` pieces at most; the next begins ``step`` pieces later, until the end is
    reached.
    """
    found = [(0, min(room, length))]
    while found[-1][1] < length:
        first = found[-1][0] + step
        found.append((first, min(first + room, length)))
    return found
