"""The tables of a stack as they are shown: vectors by position, angles, scores by distance."""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from fairseq_floater.blocks.stacks import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.errors import UserError

#: encodings are looked at up to these multiples of the training length
REACHES = (1, 2, 4, 8, 16)


class TableAxes(NamedTuple):
    """What a table is over."""

    rows: str
    columns: str


AXES = {
    "rotation": TableAxes("position", "angle"),
    "scores": TableAxes("distance", "head"),
    "relative": TableAxes("row of the table", "feature"),
}


def axes_of(stack: PositionedStack) -> TableAxes:
    """What the rows and columns of a stack's tables are."""
    return AXES.get(str(stack.options.injection), TableAxes("position", "feature"))


def shown_table(stack: PositionedStack, encoder: PositionEncoder, count: int) -> Tensor:
    """The first ``count`` rows (tracks, rows, columns), float32, as a picture has them.

    Of angles the cosines; of scores NaN where a head sees nothing; of vectors by clipped distance
    all there are.
    """
    with torch.no_grad():
        table = encoder(count).detach()
    if stack.options.injection == "rotation":
        return table.cos()
    return table.masked_fill(table.isneginf(), float("nan"))


def encoding_table(
    stack: PositionedStack, encoder: PositionEncoder, length: int
) -> Tuple[Tensor, Optional[str]]:
    """What to measure (tracks, rows, columns), float64, at 0 .. 16 x ``length``, if it goes so far.

    Of angles these are cosines and sines; scores of what a head cannot see are left at 0. With them
    comes what ended them early, if anything: a learned table ends, and a trajectory may outgrow all
    numbers; then they go up to a smaller multiple of ``length``.

    Raises:
        UserError: if they are not finite up to ``length``.
    """
    if encoder.max_positions is not None and encoder.max_positions <= REACHES[-1] * length:
        return _encodings(stack, encoder, encoder.max_positions), "end of the table"
    limit = None
    for reach in reversed(REACHES[1:]):
        try:
            table = _encodings(stack, encoder, reach * length + 1)
        except UserError:
            limit = f"not finite up to {reach * length:,}"
        else:
            return table, limit if table.size(1) > reach * length else "end of the table"
    return _encodings(stack, encoder, length + 1), limit


def _encodings(stack: PositionedStack, encoder: PositionEncoder, count: int) -> Tensor:
    with torch.no_grad():
        table = encoder(count).double()
    if stack.options.injection == "rotation":
        table = torch.cat([table.cos(), table.sin()], dim=2)
    if stack.options.injection == "scores":
        table = table.masked_fill(table.isneginf(), 0.0)
    if not bool(torch.isfinite(table).all()):
        raise UserError(f"the position encodings are not finite at the first {count} positions")
    return table
