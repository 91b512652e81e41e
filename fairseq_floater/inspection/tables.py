"""The tables of a stack as they are shown: vectors by position, angles, scores by distance."""

from typing import Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.options import Use
from fairseq_floater.errors import UserError
from fairseq_floater.models.positioned import PositionedModel

#: encodings are looked at up to these multiples of the training length
REACHES = (1, 2, 4, 8, 16)


class Part(NamedTuple):
    """The positions of one kind in a stack, as they are shown.

    Attributes:
        name: that of the stack, with ``-base`` for the base positions within its attention.
        encoder: of the positions.
        use: how the model uses them.
        tracks: names of the tracks of one block.
    """

    name: str
    encoder: PositionEncoder
    use: Use
    tracks: Tuple[str, ...]


def parts_of(model: PositionedModel) -> Dict[str, Part]:
    """Return all positions of a model that can be shown, by name."""
    found = {}
    for stack in model.stacks().values():
        for part, use in stack.options.uses.items():
            encoder = getattr(stack, part)
            if encoder is not None and encoder.tracks:  # a stack without blocks has none
                name = stack.name if part == "position_encoder" else f"{stack.name}-base"
                found[name] = Part(name, encoder, use, stack.track_names(use))
    return found


class TableAxes(NamedTuple):
    """What the rows and columns of a table are."""

    rows: str
    columns: str


def several(rows: str) -> str:
    """Return the plural of ``rows`` of ``TableAxes``."""
    first, *of = rows.split(" ", 1)
    return " ".join([f"{first}s", *of])


AXES = {
    "rotation": TableAxes("position", "angle"),
    "scores": TableAxes("distance", "head"),
    "relative": TableAxes("row of the table", "feature"),
}


def axes_of(part: Part) -> TableAxes:
    """Return what the rows and columns of its tables are."""
    return AXES.get(part.use.injection, TableAxes("position", "feature"))


def shown_table(part: Part, count: int) -> Tensor:
    """Return the first ``count`` rows (tracks, rows, columns), float32, as a picture has them.

    Angles are given as their cosines. Scores are NaN where a head sees nothing. Of vectors by
    clipped distance, all rows are given.
    """
    with torch.no_grad():
        table = part.encoder(count).detach()
    if part.use.injection == "rotation":
        return table.cos()
    return table.masked_fill(table.isneginf(), float("nan"))


def encoding_table(part: Part, length: int) -> Tuple[Tensor, Optional[str]]:
    """Return what to measure (tracks, rows, columns), float64, at 0 .. 16 x ``length`` if possible.

    Angles are given as cosines and sines; scores of what a head cannot see are 0. The second value
    says what ended the table early, if anything: a learned table ends, and a trajectory may outgrow
    all numbers. The table then goes up to a smaller multiple of ``length``.

    Raises:
        UserError: if the encodings are not finite up to ``length``.
    """
    most = part.encoder.max_positions
    if most is not None and most <= REACHES[-1] * length:
        return _encodings(part, most), "end of the table"
    limit = None
    for reach in reversed(REACHES[1:]):
        try:
            table = _encodings(part, reach * length + 1)
        except UserError:
            limit = f"not finite up to {reach * length:,}"
        else:
            return table, limit if table.size(1) > reach * length else "end of the table"
    return _encodings(part, length + 1), limit


def _encodings(part: Part, count: int) -> Tensor:
    with torch.no_grad():
        table = part.encoder(count).double()
    if part.use.injection == "rotation":
        table = torch.cat([table.cos(), table.sin()], dim=2)
    if part.use.injection == "scores":
        table = table.masked_fill(table.isneginf(), 0.0)
    if not bool(torch.isfinite(table).all()):
        raise UserError(f"the position encodings are not finite at the first {count} positions")
    return table
