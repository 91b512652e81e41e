"""Shared parts of data sets with two texts in one input."""

from typing import Any, Dict, NamedTuple, Sequence

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset, data_utils
from torch import Tensor

from fairseq_floater.data.tokenizer_json import PieceTokenizer


class Layout(NamedTuple):
    """How two texts form one input: ``<s> first </s> second </s>``.

    Attributes:
        dictionary: the dictionary of the model.
        separators: number of ``</s>`` between the two: one as in BERT, or two as in RoBERTa.
    """

    dictionary: Dictionary
    separators: int = 1

    @property
    def special(self) -> int:
        """The number of pieces besides those of the texts."""
        return 2 + self.separators

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the input, (pieces,) int64."""
        begin, end = torch.tensor([self.dictionary.bos()]), torch.tensor([self.dictionary.eos()])
        return torch.cat([begin, first, end.expand(self.separators), second, end])

    def second_begins(self, first: Tensor) -> int:
        """Return the place of the second text's first piece."""
        return 1 + len(first) + self.separators


def symbols(text: str, tokenizer: PieceTokenizer, dictionary: Dictionary) -> Tensor:
    """Return the pieces of a text, (pieces,) int64."""
    return torch.tensor([dictionary.index(p.name) for p in tokenizer.pieces(text)]).long()


def batch_of(
    samples: Sequence[Dict[str, Any]], rows: Sequence[Tensor], dictionary: Dictionary
) -> Dict[str, Any]:
    """Return a batch as fairseq expects it, with ``rows`` of different lengths as inputs."""
    lengths = torch.tensor([len(row) for row in rows])
    tokens = data_utils.collate_tokens(list(rows), dictionary.pad())  # (rows, length)
    return {
        "id": torch.tensor([sample["id"] for sample in samples]),
        "nsentences": len(samples),
        "ntokens": int(lengths.sum()),
        "net_input": {"src_tokens": tokens, "src_lengths": lengths},
    }


class ByLength(FairseqDataset):
    """A data set ordered by the length of its items, and shuffled where lengths are equal.

    Attributes:
        sizes: (items,), the lengths of the inputs in pieces.
    """

    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        shuffled = np.random.permutation(len(self))
        return shuffled[np.argsort(self.sizes[shuffled], kind="stable")]
