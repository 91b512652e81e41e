"""Where the tokens of a pass stand, and which rows of a table they read there."""

from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_floater.encoders import PositionEncoder


class Places(NamedTuple):
    """Where the tokens of one pass through a stack stand, in positions; -1 at pads.

    In a step of a decoding whose tokens all stand at one position, that number says as much.

    Attributes:
        numbers: (batch, length) int64, the number of each token in its sentence, from 0; in
            incremental decoding of all tokens so far.
        own: (batch, length), where each token stands: its number, or a float64 time.
        source: (batch, source length) likewise of the tokens that cross-attention reads, in a
            decoder that needs them.
    """

    numbers: Tensor
    own: Tensor
    source: Optional[Tensor] = None

    def last(self) -> "Places":
        """Those of the last token of every row, which incremental decoding is about."""
        return self._replace(numbers=self.numbers[:, -1:], own=self.own[:, -1:])


class Rows(NamedTuple):
    """Which row of a table each token of a pass reads; -1 at pads.

    Attributes:
        own: (batch, length) int64; None where all tokens read the table's only row.
        source: (batch, source length) int64, for cross-attention.
    """

    own: Optional[Tensor]
    source: Optional[Tensor] = None

    def without_pads(self) -> "Rows":
        """With row 0 at pads, which attention masks."""
        return Rows(*(None if rows is None else rows.clamp(min=0) for rows in self))


def token_numbers(padding_mask: Tensor) -> Tensor:
    """How many non-pad tokens precede each token, wherever the padding stands; -1 at pads.

    Args:
        padding_mask: (batch, length), true at pads.

    Returns:
        (batch, length), int64.
    """
    tokens = (~padding_mask.bool()).long()
    return tokens.cumsum(dim=1) * tokens - 1


def sentence_times(tokens: Tensor, padding: int, separator: int, gap: float) -> Tensor:
    """One step per token, and after a sentence of n tokens a pause of ``gap`` * n steps.

    So the step from one sentence to the next is proportional to the sentence's length (paper,
    appendix C). A time depends on what is before it only: a decoder can tell it while it generates.

    Args:
        tokens: (batch, length), one document per row.
        padding, separator: symbols; a sentence ends with the separator.
        gap: >= 0; with 0 times are token numbers.

    Returns:
        (batch, length) float64, in positions, rising along a row; -1 at pads.
    """
    numbers = token_numbers(tokens.eq(padding))
    ended = tokens[:, :-1].eq(separator) & (numbers[:, 1:] > 0)
    starts = torch.zeros_like(numbers)
    starts[:, 1:] = numbers[:, 1:] * ended
    times = numbers.double() + gap * starts.cummax(dim=1).values
    return times.masked_fill(numbers < 0, -1.0)


def read_table(
    encoder: PositionEncoder,
    places: Union[Places, int],
    limit: Optional[int],
    decoding: bool,
    unchanged: bool,
) -> Tuple[Tensor, Rows]:
    """The trajectories that serve a pass, (tracks, rows, dim), and whose rows are which.

    Args:
        encoder: of the trajectories.
        places: of all tokens so far; or the one position of a step.
        limit: the longest table there is, None without a limit.
        decoding: only the last token of every row is computed.
        unchanged: the parameters are those of the last pass.
    """
    if isinstance(places, int):
        return encoder(places + 1, unchanged)[:, places:], Rows(None)
    if places.own.is_floating_point():
        places = places.last() if decoding else places
        times = [places.own] + ([] if places.source is None else [places.source])
        distinct, rows = as_rows(times)
        return encoder.at(distinct, unchanged), Rows(*rows)
    table = encoder(length_needed(limit, places.own, places.source), unchanged)
    places = places.last() if decoding else places
    return table, Rows(places.own, places.source)


def length_needed(limit: Optional[int], *streams: Optional[Tensor]) -> int:
    """Length of a table that serves all of the given token numbers (batch, length).

    Their width does, unless it is beyond ``limit``: then the longest sentence decides, pads aside.
    (Looking at the values means waiting for the device.)
    """
    given = [stream for stream in streams if stream is not None]
    width = max(stream.size(1) for stream in given)
    if limit is None or width <= limit:
        return width
    return max(int(stream.max()) + 1 for stream in given) or 1


def as_rows(times: Sequence[Tensor]) -> Tuple[Tensor, List[Tensor]]:
    """Different times as the rows of one table, and which row each token has.

    Args:
        times: (batch, length) each, -1 at pads.

    Returns:
        (rows,) rising times, 0 among them, and (batch, length) each, int64, -1 at pads.
    """
    start = times[0].new_zeros(1)  # all else may be pads
    flat = torch.cat([start, *(stream.flatten() for stream in times)])
    distinct, found = torch.unique(flat, return_inverse=True)
    pads = int(distinct[0] < 0)
    parts = (found - pads)[1:].split([stream.numel() for stream in times])
    return distinct[pads:], [part.view_as(stream) for part, stream in zip(parts, times)]


def look_up(track: Tensor, rows: Optional[Tensor], like: Tensor) -> Tensor:
    """Vectors of one track (rows, dim) at ``rows`` >= 0, of any shape: (*shape, dim).

    Without rows the track has one, that of all tokens: (1, 1, dim). ``like`` gives the dtype.
    """
    if rows is None:
        return track.unsqueeze(0).to(like.dtype)
    return F.embedding(rows, track).to(like.dtype)


def look_up_masked(track: Tensor, rows: Optional[Tensor], like: Tensor) -> Tensor:
    """``look_up`` with zeros at pads, whose row is -1."""
    if rows is None:
        return look_up(track, None, like)
    vectors = look_up(track, rows.clamp(min=0), like)
    return vectors * (rows >= 0).unsqueeze(-1).to(vectors.dtype)
