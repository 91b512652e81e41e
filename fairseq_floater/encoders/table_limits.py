"""How long a table of positions may be, checked before it takes any time and memory."""

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.errors import UserError

#: the most numbers that a table may have, 1 GB in float32
NUMBERS = 2**28
#: the most positions that a table may have; a million of them take minutes
POSITIONS = 10**6


def require_room(encoder: PositionEncoder, positions: int, asked: str) -> None:
    """Refuse a table of ``positions`` that takes too much memory or time.

    Args:
        encoder: the encoder that the table belongs to.
        positions: rows for each track.
        asked: what asks for them, such as ``--positions 1000``, for the message.

    Raises:
        UserError: naming the bound.
    """
    if encoder.max_positions is not None:
        positions = min(positions, encoder.max_positions)
    row = max(1, encoder.tracks * encoder.row_size)
    most = min(POSITIONS, NUMBERS // row)
    if positions > most:
        raise UserError(
            f"{asked} makes a table of {positions:,} positions for the {encoder.name}, with "
            f"{row:,} numbers each; at most {most:,} positions are computed: ask for fewer"
        )
