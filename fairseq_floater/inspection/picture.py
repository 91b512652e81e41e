"""Pictures of ``floater inspect``: similarity of positions, size and spectrum of the encodings."""

import math
from pathlib import Path
from typing import List, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from torch import Tensor

from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.table_limits import NUMBERS
from fairseq_floater.errors import UserError, naming
from fairseq_floater.files import require_other_file, save_picture
from fairseq_floater.inspection import heatmap
from fairseq_floater.inspection.encoders import load_part
from fairseq_floater.inspection.findings import ranges
from fairseq_floater.inspection.spectrum import similarity, variance_shares
from fairseq_floater.inspection.tables import axes_of, encoding_table, several

#: singular directions with a smaller share of the variance, and norms below this share of the
#: largest, are noise from rounding and the solver, and are not drawn
LEAST = 1e-6


def draw_inspection(checkpoint: Path, folder: Path, stack: str, length: int = 64) -> List[Path]:
    """Draw ``STACK.heatmap.png`` and ``STACK.png`` into ``folder``, and return both.

    The second has the similarity of the positions of every track, the norm of the encodings far
    beyond the training length, and the spectrum within and beyond it.

    Args:
        checkpoint: a checkpoint of one of our models with positions.
        folder: created if needed.
        stack: such as ``encoder`` or ``encoder-base``, see ``tables.Part``.
        length: length of the longest training sentences, in positions, >= 2.
    """
    pictures = [folder / f"{stack}.heatmap.png", folder / f"{stack}.png"]
    for picture in pictures:
        require_other_file(picture, checkpoint)
    part = load_part(checkpoint, stack)
    _require_room(part.encoder, length)
    with naming(checkpoint):
        shown = heatmap.shown_of(part, length)
    heatmap.draw(shown, pictures[0])
    table, _ = encoding_table(part, length)
    title = f"{part.use.encoder_class.kind} encodings, {stack}"
    draw(table, part.tracks, length, pictures[1], title, axes_of(part).rows)
    return pictures


def _require_room(encoder: PositionEncoder, length: int) -> None:
    """Raise ``UserError`` if there are too many pairs of positions to draw their cosines."""
    most = int((NUMBERS / max(1, encoder.tracks)) ** 0.5)
    if length > most:
        raise UserError(
            f"--length {length} makes pictures of {length:,} x {length:,} positions for each of "
            f"{encoder.tracks} tracks; at most {most:,} are drawn: ask for fewer, or leave out "
            "--out"
        )


def draw(
    table: Tensor,
    tracks: Sequence[str],
    length: int,
    picture: Path,
    title: str,
    rows: str = "position",
) -> None:
    """Draw ``table`` (blocks * tracks, rows, dim), float64; ``length`` is the training length."""
    blocks = len(table) // len(tracks)
    if len(table) == 1:
        figure = Figure(figsize=(13.0, 4.2), layout="constrained")
        parts = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.0, 2.1))
    else:
        heights = (0.9 + 1.75 * len(tracks), 3.6)
        size = (max(8.5, 1.6 + 1.8 * blocks), 0.4 + sum(heights))
        figure = Figure(figsize=size, layout="constrained")
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
    similarities, curves = parts.flat
    figure.suptitle(title, fontsize=12)
    _draw_similarities(similarities, table[:, :length], tracks, rows)
    norms, spectra = curves.subplots(1, 2)
    _draw_norms(norms, table, tracks, length, rows)
    _draw_spectra(spectra, table, length, rows)
    save_picture(figure, picture, dpi=130)


def _draw_similarities(figure: FigureBase, table: Tensor, tracks: Sequence[str], rows: str) -> None:
    """Draw one panel per track: a row of panels per projection, a column per block."""
    axes = heatmap.track_axes(figure, tracks, len(table) // len(tracks), rows, rows)
    for axis, cosines in zip(axes, similarity(table)):
        panel = axis.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=5, integer=True)
    bar = figure.colorbar(panel, ax=axes, shrink=0.8, aspect=30)
    bar.set_label("cosine", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    last = table.size(1) - 1
    over = f"{several(rows)} 0 to {last}"
    figure.suptitle(f"similarity of encodings, centred over {over}", fontsize=10)


def _draw_norms(axis: Axes, table: Tensor, tracks: Sequence[str], length: int, rows: str) -> None:
    norms = table.norm(dim=2).unflatten(0, (-1, len(tracks)))
    for row, name in enumerate(tracks):
        axis.plot(norms[:, row].T, color=f"C{row}", alpha=0.4, linewidth=0.7)
        axis.plot(norms[:, row].mean(dim=0), color=f"C{row}", linewidth=1.6, label=name)
    if length < table.size(1):
        axis.axvline(length, color="black", linestyle=":", label="training length")
    axis.set_xscale("symlog", linthresh=1)  # so that position 0 is shown
    axis.set_xlim(0, table.size(1) - 1)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    if (largest := float(norms.max())) > 0:
        least = max(float(norms[norms > 0].min()), LEAST * largest)
        axis.set_yscale("log")
        # Whole decades, so that a constant norm looks constant.
        axis.set_ylim(10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(largest)))
    means = " (thick: mean of blocks)" if len(norms) > 1 else ""
    where = rows if " " in rows else f"{rows} (tokens)"
    _finish(axis, f"norm{means}", where, "Euclidean norm of the encoding")


def _draw_spectra(axis: Axes, table: Tensor, length: int, rows: str) -> None:
    last = 2
    for color, count in zip(("C0", "C3"), ranges(table, length)):
        shares = variance_shares(table[:, :count])
        directions = torch.arange(1, shares.size(1) + 1)
        axis.plot(directions, shares.T, color=color, alpha=0.3, linewidth=0.6)
        axis.plot(
            directions, shares.mean(dim=0), color=color, label=f"first {count:,} {several(rows)}"
        )
        last = max(last, int((shares.amax(dim=0) > LEAST).sum()))
    axis.set_xlim(1, last)
    axis.set_ylim(LEAST, 1.0)  # before the scale, which looks for a limit if nothing varies
    axis.set_yscale("log")
    means = " (thick: mean of tracks)" if len(table) > 1 else ""
    _finish(axis, f"singular values, squared{means}", "singular direction", "share of the variance")


def _finish(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=8)
    axis.set_ylabel(y, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.14))
