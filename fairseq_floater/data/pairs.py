"""What data sets of two texts in one input share."""

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from torch import Tensor

from fairseq_floater.data.tokenizer_json import PieceTokenizer

#: special pieces beside the two texts
SPECIAL_PIECES = 3


def as_input(dictionary: Dictionary, first: Tensor, second: Tensor) -> Tensor:
    """``<s> first </s> second </s>``, (pieces,) int64, as BERT has pairs."""
    begin, end = torch.tensor([dictionary.bos()]), torch.tensor([dictionary.eos()])
    return torch.cat([begin, first, end, second, end])


def symbols(text: str, tokenizer: PieceTokenizer, dictionary: Dictionary) -> Tensor:
    """The pieces of a text, (pieces,) int64."""
    return torch.tensor([dictionary.index(p.name) for p in tokenizer.pieces(text)]).long()


class ByLength(FairseqDataset):
    """Items of like length come together, shuffled where it is equal.

    Attributes:
        sizes: (items,) of the inputs, in pieces.
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
