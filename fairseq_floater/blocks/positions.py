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
    """Vectors of one track (positions, dim) at ``positions`` >= 0, of any shape: (*shape, dim).

    ``like`` gives the dtype.
    """
    return F.embedding(positions, track).to(like.dtype)


def look_up_masked(track: Tensor, positions: Optional[Tensor], like: Tensor) -> Tensor:
    """``look_up`` with zeros at pads, which stand at -1.

    Without positions the track has one, that of all tokens: (1, 1, dim).
    """
    if positions is None:
        return track.unsqueeze(0).to(like.dtype)
    vectors = look_up(track, positions.clamp(min=0), like)
    return vectors * (positions >= 0).unsqueeze(-1).to(vectors.dtype)


def positions_needed(limit: Optional[int], *streams: Optional[Tensor]) -> int:
    """Length of table that serves all of the given position tensors (batch, length).

    Their width does, unless it is beyond ``limit``: then the longest sentence decides, pads aside.
    (Looking at the values means waiting for the device.)
    """
    widths = [stream.size(1) for stream in streams if stream is not None]
    if limit is None or max(widths) <= limit:
        return max(widths)
    return max(int(stream.max()) + 1 for stream in streams if stream is not None) or 1
