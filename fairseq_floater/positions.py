"""From tokens to positions, and from positions to vectors."""

from typing import Optional

from torch import Tensor
from torch.nn import functional as F


def token_positions(padding_mask: Tensor) -> Tensor:
    """How many non-pad tokens precede each token, wherever the padding stands; -1 at pads.

    Args:
        padding_mask: (batch, length), true at pads.

    Returns:
        (batch, length), int64.
    """
    tokens = (~padding_mask.bool()).long()
    return tokens.cumsum(dim=1) * tokens - 1


def look_up(track: Tensor, positions: Tensor, like: Tensor) -> Tensor:
    """Vectors of one track (positions, dim) at ``positions``, of any shape: (*shape, dim).

    Pads get the vector of position 0. That is harmless where attention masks them, and spares a
    pass over the result; use ``look_up_masked`` elsewhere. ``like`` gives the dtype.
    """
    return F.embedding(positions.clamp(min=0), track).to(like.dtype)


def look_up_masked(track: Tensor, positions: Tensor, like: Tensor) -> Tensor:
    """``look_up`` with zeros at pads."""
    vectors = look_up(track, positions, like)
    return vectors * (positions >= 0).unsqueeze(-1).to(vectors.dtype)


def positions_needed(*streams: Optional[Tensor]) -> int:
    """Length of table that serves all of the given position tensors, at most their widths."""
    return max(int(stream.max()) + 1 for stream in streams if stream is not None) or 1
