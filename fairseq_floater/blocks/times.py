"""When a token stands, where that is not simply its number (paper, appendix C)."""

from typing import Tuple

import torch
from torch import Tensor

from fairseq_floater.blocks.positions import token_positions


def sentence_times(tokens: Tensor, padding: int, separator: int, gap: float) -> Tensor:
    """One step a token, and after a sentence of n tokens a pause of ``gap`` * n steps.

    So the step from one sentence to the next is proportional to the sentence's length. A time
    depends on what is before it only: a decoder can tell it while it generates.

    Args:
        tokens: (batch, length), a document a row.
        padding, separator: symbols; a sentence ends with the separator.
        gap: >= 0; with 0 times are token positions.

    Returns:
        (batch, length) float64, in positions, rising along a row; -1 at pads.
    """
    positions = token_positions(tokens.eq(padding))
    ended = tokens[:, :-1].eq(separator) & (positions[:, 1:] > 0)
    starts = torch.zeros_like(positions)
    starts[:, 1:] = positions[:, 1:] * ended
    times = positions.double() + gap * starts.cummax(dim=1).values
    return times.masked_fill(positions < 0, -1.0)


def as_indices(*streams: Tensor) -> Tuple[Tensor, Tuple[Tensor, ...]]:
    """Rows of different times as one row of them all, and where each token finds its own.

    Args:
        streams: (batch, length) each, -1 at pads.

    Returns:
        (times,) rising, 0 among them, and (batch, length) each, int64, -1 at pads.
    """
    start = streams[0].new_zeros(1)  # all else may be pads
    flat = torch.cat([start, *(stream.flatten() for stream in streams)])
    times, found = torch.unique(flat, return_inverse=True)
    pads = int(times[0] < 0)
    parts = (found - pads)[1:].split([stream.numel() for stream in streams])
    return times[pads:], tuple(part.view_as(stream) for part, stream in zip(parts, streams))
