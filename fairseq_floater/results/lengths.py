"""Sort test sentences by source length: in words, or in subwords relative to training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

import numpy as np

from fairseq_floater.errors import UserError
from fairseq_floater.results.generation import read_lines

#: share of the training sentences that are not longer than the training length: the few longest,
#: such as lists of names, do not teach positions
SHARE = 0.999

WORDS, SUBWORDS = "words", "subwords"


@dataclass(frozen=True)
class Bins:
    """How sentences are sorted by length; the last bin has no upper end."""

    unit: str  #: ``WORDS`` or ``SUBWORDS``
    lengths: List[int]  #: of each sentence
    edges: Sequence[int]  #: upper ends, rising, at least one

    def __iter__(self) -> Iterator[Tuple[str, List[int]]]:
        """Yield each bin's name, such as ``13-16``, and the numbers of its sentences."""
        edges = self.edges
        names = [f"<= {edges[0]}"]
        names += [
            f"{low + 1}-{high}" if low + 1 < high else f"{high}"
            for low, high in zip(edges, edges[1:])
        ]
        names.append(f"> {edges[-1]}")
        bounds = [-1, *edges, float("inf")]
        for name, low, high in zip(names, bounds, bounds[1:]):
            yield name, [i for i, length in enumerate(self.lengths) if low < length <= high]


def by_words(source: Sequence[str], edges: Sequence[int]) -> Bins:
    """Sort sentences by their number of words, which white space separates."""
    return Bins(WORDS, _count(source), edges)


def by_subwords(data: Path, language: str, test: str, relative: Sequence[float]) -> Bins:
    """Sort sentences by their number of subwords, relative to the length of training sentences.

    Args:
        data: a corpus as ``data-prep`` leaves it; the lengths are those of its training sentences
            before any are joined.
        language: of the source.
        test: name of the test set.
        relative: upper ends, rising, relative to the least length that ``SHARE`` of the training
            sentences do not exceed.

    Raises:
        UserError: if the corpus has no subwords.
    """
    training = training_length(_count(read_lines(data / "bpe" / f"train.{language}")))
    lengths = _count(read_lines(data / "bpe" / f"{test}.{language}"))
    return Bins(SUBWORDS, lengths, [round(factor * training) for factor in relative])


def training_length(lengths: Sequence[int]) -> int:
    """Return the least length that ``SHARE`` of the sentences do not exceed."""
    return int(np.quantile(lengths, SHARE, method="inverted_cdf"))


def parse_edges(text: str) -> List[int]:
    """Convert a text such as ``12,16,20`` to rising whole numbers.

    Raises:
        UserError: if it is anything else.
    """
    edges = [int(part) if part.isdecimal() else 0 for part in text.split(",")] if text else []
    if any(low >= high for low, high in zip([0, *edges], edges)):
        raise UserError(f"--bins is {text!r}: give rising whole numbers such as 12,16,20")
    return edges


def parse_relative(text: str) -> List[float]:
    """Convert a text such as ``1,1.33`` to rising numbers.

    Raises:
        UserError: if it is anything else.
    """
    try:
        edges = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        edges = [0.0]
    if not all(low < high < 1000 for low, high in zip([0.0, *edges], edges)):
        raise UserError(f"--subword-bins is {text!r}: give rising numbers such as 1,1.33,1.66")
    return edges


def _count(lines: Sequence[str]) -> List[int]:
    return [len(line.split()) for line in lines]
