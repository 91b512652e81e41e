"""Pictures of position encodings: position down, feature across (paper, figure 3)."""

from pathlib import Path
from typing import Dict, List

import matplotlib
import torch
from torch import Tensor

from fairseq_floater.inspection import load_position_encoder
from fairseq_floater.transformer.tracks import block_tracks


def draw_heatmap(checkpoint: Path, picture: Path, stack: str = "encoder", positions: int = 252):
    """Draw every track of one stack: a row of panels a projection, a column a block.

    Args:
        checkpoint: of a ``floater_transformer``.
        picture: the file to write; its ending chooses the format.
        stack: ``encoder`` or ``decoder``.
        positions: how many; the default is that of the authors' article.
    """
    encoder, config = load_position_encoder(checkpoint, stack)
    if encoder.max_positions is not None:
        positions = min(positions, encoder.max_positions)
    with torch.no_grad():
        table = encoder(positions)
    rows = block_tracks(config.nested(), stack)
    draw(table, rows, picture, f"{config.position_encoder} encodings, {stack}, by block")


def draw(table: Tensor, rows: List[str], picture: Path, title: str) -> None:
    """Draw ``table`` (blocks * rows, positions, dim), all panels on one colour scale."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    blocks = len(table) // len(rows)
    limit = float(table.abs().quantile(0.99) if table.numel() < 2**24 else table.abs().max())
    style: Dict = {"aspect": "auto", "cmap": "RdBu_r", "vmin": -limit or -1.0, "vmax": limit or 1.0}
    size = (1.2 + 2.2 * blocks, 1.0 + 2.4 * len(rows))
    figure, axes = pyplot.subplots(
        len(rows),
        blocks,
        figsize=size,
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for track, vectors in enumerate(table):
        block, row = divmod(track, len(rows))
        panel = axes[row][block].imshow(vectors.detach().cpu(), **style)
        if row == 0:
            axes[row][block].set_title(f"block {block + 1}", fontsize=9)
        if block == 0:
            axes[row][block].set_ylabel(f"{rows[row]}\nposition", fontsize=8)
        if row == len(rows) - 1:
            axes[row][block].set_xlabel("feature", fontsize=8)
    figure.colorbar(panel, ax=axes, shrink=0.6)
    figure.suptitle(title, fontsize=11)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
