"""Where the tokens of a pass stand, and which rows of a table they read there."""

from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_floater import devices
from fairseq_floater.encoders import PositionEncoder

#: the largest feature of a vector in float16, whose range ends at 65,504. Trajectories of a trained
#: model can grow with the position; at position 4,096 a value of 649 was seen.
HALF_LIMIT = 2048.0


class Places(NamedTuple):
    """Where the tokens of one pass through a stack stand, in positions; -1 at pads.

    If all tokens of a decoding step stand at one position, that position is used instead of this.

    Attributes:
        numbers: (1 or batch, length) int64, the number of each token in its sentence, from 0, plus
            the shift if there is one; in incremental decoding, those of all tokens so far.
        tokens: (1 or batch, length), where each token stands: its number, or a float64 time.
        source: (1 or batch, source length), likewise for the tokens that cross-attention reads, in
            a decoder that needs them.
    """

    numbers: Tensor
    tokens: Tensor
    source: Optional[Tensor] = None

    @classmethod
    def shifted(cls, numbers: Tensor, tokens: Tensor, shift: Union[int, Tensor]) -> "Places":
        """Return places ``shift`` positions later. ``shift`` is (batch, 1), or one for all."""
        if isinstance(shift, int) and shift == 0:
            return cls(numbers, tokens)
        moved = (numbers >= 0) * shift
        return cls(numbers + moved, tokens + moved)

    def at_numbers(self) -> "Places":
        """Return places with every token at its number, and without a source."""
        return self._replace(tokens=self.numbers, source=None)

    def last(self) -> "Places":
        """Return places of only the last token of every row, as incremental decoding needs them."""
        return self._replace(numbers=self.numbers[:, -1:], tokens=self.tokens[:, -1:])


class Rows(NamedTuple):
    """Which row of a table each token of a pass reads; -1 at pads.

    Attributes:
        tokens: (1 or batch, length) int64; None where all tokens read the table's only row.
        source: (1 or batch, source length) int64, for cross-attention.
    """

    tokens: Optional[Tensor]
    source: Optional[Tensor] = None

    def length_first(self) -> "Rows":
        """Return (length, 1 or batch) each, contiguous, since every projection flattens them."""
        return Rows(*(None if rows is None else rows.t().contiguous() for rows in self))

    def without_pads(self) -> "Rows":
        """Return rows with row 0 at pads, since attention masks pads."""
        return Rows(*(None if rows is None else rows.clamp(min=0) for rows in self))


def one_if_alike(padding_mask: Tensor) -> Tensor:
    """Return ``padding_mask`` (batch, length), or its first row (1, length) if none is a pad.

    If no token is a pad, all rows have the same positions, and tables are looked up once for all.
    """
    if not devices.free_to_read(padding_mask) or bool(padding_mask.any()):
        return padding_mask
    return padding_mask[:1]


def token_numbers(padding_mask: Tensor) -> Tensor:
    """Count the non-pad tokens before each token, wherever the padding is; -1 at pads.

    Args:
        padding_mask: (batch, length), true at pads.

    Returns:
        (batch, length), int64.
    """
    tokens = (~padding_mask.bool()).long()
    return tokens.cumsum(dim=1) * tokens - 1


def sentence_times(tokens: Tensor, padding: int, separator: int, gap: float) -> Tensor:
    """Return times: one step per token, and a pause of ``gap`` * n steps after each sentence.

    n is the number of the sentence's tokens, so the pause between two sentences is proportional to
    the length of the first (paper, appendix C). A time depends only on what is before it, so a
    decoder knows it while it generates.

    Args:
        tokens: (batch, length), one document per row.
        padding, separator: symbols; a sentence ends with the separator.
        gap: >= 0; with 0, times are token numbers.

    Returns:
        (batch, length) float64, in positions, rising along a row; -1 at pads.
    """
    numbers = token_numbers(tokens.eq(padding))
    ended = tokens[:, :-1].eq(separator) & (numbers[:, 1:] > 0)
    starts = torch.zeros_like(numbers)
    starts[:, 1:] = numbers[:, 1:] * ended
    times = numbers.double() + gap * starts.cummax(dim=1).values
    return times.masked_fill(numbers < 0, -1.0)


class Reading(NamedTuple):
    """What one pass reads from tables, and which of their rows each token reads.

    Attributes:
        places: the places of all tokens so far, or the one position of a decoding step.
        columns: how many tokens each sentence has so far, including pads.
        length: the length of the tables that serve whole positions.
        rows: see ``Rows``.
        times: (rows,) rising positions that are not whole; None where they are.
        last_only: whether only the last token of every row is computed.
    """

    places: Union[Places, int]
    columns: int
    length: int
    rows: Rows
    times: Optional[Tensor] = None
    last_only: bool = False

    @classmethod
    def of(
        cls, places: Union[Places, int], limit: Optional[int], last_only: bool, shift: int = 0
    ) -> "Reading":
        """Return the reading of tokens at ``places``.

        Args:
            places, last_only: see the class.
            limit: the greatest length that a table can have; None without a limit.
            shift: what was added to positions: exactly this in steps, at most this in training.
        """
        if isinstance(places, int):
            columns = places + 1 - shift
            return cls(places, columns, places + 1, Rows(None), None, True)
        read = places.last() if last_only else places
        columns = places.numbers.size(1)
        if places.tokens.is_floating_point():
            stretches = [read.tokens] + ([] if read.source is None else [read.source])
            times, found = as_rows(stretches)
            return cls(places, columns, 0, Rows(*found), times, last_only)
        length = length_needed(limit, shift, places.tokens, places.source)
        rows = Rows(read.tokens, read.source)
        return cls(places, columns, length, rows, None, last_only)

    def vectors(self, encoder: PositionEncoder) -> Tensor:
        """Return the vectors of the encoder's tracks, (tracks, rows, dim)."""
        if self.times is not None:
            return encoder.at(self.times)
        if self.rows.tokens is None:
            return encoder.last(self.length)
        return encoder(self.length, shared=True)

    def queries_and_keys(self) -> Tuple[Tensor, Tensor]:
        """Return where the queries and the keys of self-attention stand.

        They are (1 or batch, queries) and (1 or batch, keys). One row serves all sentences if each
        starts in the first column, since pads are masked.
        """
        if isinstance(self.places, int):
            keys = torch.arange(self.columns)[None]
            return keys[:, -1:], keys
        numbers = self.places.numbers
        keys = torch.arange(numbers.size(1), device=numbers.device)[None]
        if not devices.free_to_read(numbers) or bool((numbers[:, :1] < 0).any()):
            first = (numbers.cummax(dim=1).values < 0).sum(dim=1, keepdim=True)
            keys = (keys - first).clamp(min=0)
        return keys[:, -1:] if self.last_only else keys, keys


def length_needed(limit: Optional[int], shift: int, *streams: Optional[Tensor]) -> int:
    """Return the length of a table that serves all of the given token numbers (batch, length).

    It is their width plus the most that sentences are shifted by. If that is beyond ``limit``, the
    farthest token decides, pads aside. (Looking at the values means waiting for the device.)
    """
    given = [stream for stream in streams if stream is not None]
    width = max(stream.size(1) for stream in given) + shift
    if limit is None or width <= limit:
        return width
    return max(int(stream.max()) + 1 for stream in given) or 1


def as_rows(times: Sequence[Tensor]) -> Tuple[Tensor, List[Tensor]]:
    """Return the distinct times as the rows of one table, and which row each token has.

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
    """Return vectors of one track (rows, dim) at ``rows`` >= 0, of any shape: (*shape, dim).

    If ``rows`` is None, the track has a single row, which all tokens read: (1, 1, dim). ``like``
    gives the dtype.
    """
    if rows is None:
        return in_dtype(track.unsqueeze(0), like.dtype)
    return in_dtype(F.embedding(rows, track), like.dtype)


def in_dtype(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``vectors`` in ``dtype``; in float16 within ``HALF_LIMIT``, to keep sums finite."""
    if dtype == torch.float16:
        vectors = vectors.clamp(-HALF_LIMIT, HALF_LIMIT)
    return vectors.to(dtype)


def autocasting(x: Tensor) -> bool:
    """True if autocast would choose the dtype of a product with ``x``.

    Asking takes a tenth of the time of turning it off, which matters in a decoding step.
    """
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def look_up_masked(track: Tensor, rows: Optional[Tensor], like: Tensor) -> Tensor:
    """Look up as ``look_up`` does, with zeros at pads, whose row is -1."""
    if rows is None:
        return look_up(track, None, like)
    vectors = look_up(track, rows.clamp(min=0), like)
    return vectors * (rows >= 0).unsqueeze(-1).to(vectors.dtype)
