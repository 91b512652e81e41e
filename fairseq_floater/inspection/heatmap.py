"""Pictures of position encodings: position down, feature across (paper, figure 3)."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from torch import Tensor

from fairseq_floater.encoders.table_limits import require_room
from fairseq_floater.errors import UserError, naming
from fairseq_floater.files import require_other_file, save_picture
from fairseq_floater.inspection.encoders import load_part
from fairseq_floater.inspection.tables import Part, TableAxes, axes_of, shown_table


def draw_heatmap(
    checkpoint: Path, picture: Path, stack: Optional[str] = None, positions: int = 252
) -> None:
    """Draw every track of one stack: a row of panels per projection, a column per block.

    Args:
        checkpoint: a checkpoint of one of our models.
        picture: the file to write; its ending chooses the format.
        stack: such as ``encoder``, or ``encoder-base`` for the base positions beside its biases; by
            default the first that has positions.
        positions: number of positions; the default is that of the authors' article.

    Raises:
        UserError: if the checkpoint has no encodings, or the picture has an unknown ending.
    """
    check_ending(picture)
    require_other_file(picture, checkpoint)
    draw(_shown(checkpoint, stack, positions), picture)


def draw_side_by_side(
    checkpoints: Sequence[Path],
    picture: Path,
    stack: Optional[str] = None,
    positions: int = 252,
) -> None:
    """Draw the first track of several models beside each other, as figure 3 of the paper does.

    Each has a colour scale of its own: a vector added to the input and a bias of the queries
    differ in size. Arguments are those of ``draw_heatmap``.
    """
    check_ending(picture)
    require_other_file(picture, *checkpoints)
    figure = Figure(figsize=(3.2 * len(checkpoints), 3.4), layout="constrained")
    axes = figure.subplots(1, len(checkpoints), squeeze=False)
    for axis, checkpoint in zip(axes[0], checkpoints):
        shown = _shown(checkpoint, stack, positions)
        panel = axis.imshow(shown.table[0].cpu(), **_style(shown.table[0]))
        axis.set_title(f"{shown.kind}, block 1, {shown.tracks[0]}", fontsize=9)
        axis.set_xlabel(shown.axes.columns, fontsize=8)
        axis.set_ylabel(shown.axes.rows, fontsize=8)
        figure.colorbar(panel, ax=axis, shrink=0.7)
    save_picture(figure, picture, dpi=110)


class Shown(NamedTuple):
    """What is drawn of a stack.

    Attributes:
        kind: kind of the position encoder.
        table: (blocks * tracks, rows, columns).
        tracks: names of a block's tracks.
        axes: what rows and columns are.
        title: title of the picture.
    """

    kind: str
    table: Tensor
    tracks: Tuple[str, ...]
    axes: TableAxes
    title: str


def _shown(checkpoint: Path, name: Optional[str], positions: int) -> Shown:
    part = load_part(checkpoint, name)
    with naming(checkpoint):
        return shown_of(part, positions)


def shown_of(part: Part, positions: int) -> Shown:
    """Return what is drawn of a part's first ``positions``, or of all that it has.

    Raises:
        UserError: if there are too many, or they are no numbers.
    """
    require_room(part.encoder, positions, f"--positions {positions}")
    if part.encoder.max_positions is not None:
        positions = min(positions, part.encoder.max_positions)
    table, axes = shown_table(part, positions), axes_of(part)
    what = {"angle": "cosines of angles", "head": "scores"}.get(axes.columns, "encodings")
    kind = part.use.encoder_class.kind
    return Shown(kind, table, part.tracks, axes, f"{kind} {what}, {part.name}")


def _style(table: Tensor) -> Dict[str, Any]:
    sizes = table[table.isfinite()].abs()
    limit = float(sizes.quantile(0.99) if sizes.numel() < 2**24 else sizes.max())
    return {"aspect": "auto", "cmap": "RdBu_r", "vmin": -limit or -1.0, "vmax": limit or 1.0}


def check_ending(picture: Path) -> None:
    """Refuse a file whose ending is not that of a picture, before any work is done."""
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if picture.suffix[1:].lower() not in kinds:
        raise UserError(
            f"picture {picture} has an unknown ending: choose from "
            f"{', '.join('.' + kind for kind in sorted(kinds))}"
        )


def draw(shown: Shown, picture: Path) -> None:
    """Draw all panels with one colour scale."""
    rows = shown.tracks
    blocks = len(shown.table) // len(rows)
    size = (1.2 + 2.2 * blocks, 1.0 + 2.4 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = track_axes(figure, rows, blocks, shown.axes.columns, shown.axes.rows)
    style = _style(shown.table)
    for axis, vectors in zip(axes, shown.table):
        panel = axis.imshow(vectors.cpu(), **style)
    figure.colorbar(panel, ax=axes, shrink=0.6)
    figure.suptitle(f"{shown.title}, by block", fontsize=11)
    save_picture(figure, picture, dpi=110)


def track_axes(figure: FigureBase, rows: Sequence[str], blocks: int, x: str, y: str) -> List[Axes]:
    """Axes for the tracks, in order: a row of panels per projection, a column per block.

    All share their scales, so only those at the left and at the bottom draw them.
    """
    axes = figure.subplots(len(rows), blocks, squeeze=False, sharex=True, sharey=True)
    for axis in axes[:-1].flat:
        axis.xaxis.set_visible(False)
    for axis in axes[:, 1:].flat:
        axis.yaxis.set_visible(False)
    for block, axis in enumerate(axes[0]):
        axis.set_title(f"block {block + 1}", fontsize=9)
    for row, axis in zip(rows, axes[:, 0]):
        axis.set_ylabel(f"{row}\n{y}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel(x, fontsize=8)
    return list(axes.T.flat)
