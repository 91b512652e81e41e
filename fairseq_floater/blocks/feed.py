"""How the vectors of one forward pass reach the blocks of a stack.

fairseq's stacks call their blocks with fixed arguments. A forward pre-hook on each block adds
three more, taken from the feed that the stack has opened for this pass:

    position_tracks (tracks of the block, rows, dim), or (tracks, dim) where one vector is for all
        tokens and replaces the projection's own bias
    rows (length, batch), which row of them each token reads, -1 at pads; None if there is but one,
        that of all tokens
    source_rows (source length, batch), for cross-attention

They travel as arguments, not in a closure, so that activation checkpointing sees the tensors
that need a gradient and can run a block twice.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.blocks.places import Rows, look_up_masked
from fairseq_floater.encoders import PositionEncoder


class PositionFeed:
    """The vectors of the forward pass under way; empty between passes."""

    def __init__(self) -> None:
        self.blocks: Sequence[Tensor] = ()
        self.rows: Optional[Tensor] = None
        self.source_rows: Optional[Tensor] = None
        self.base: Optional[Tensor] = None
        self.base_rows: Optional[Tensor] = None

    @contextmanager
    def opened(
        self, blocks: Sequence[Tensor], rows: Rows, base: Optional[Tensor], base_rows: Rows
    ) -> Iterator[None]:
        """Serve ``blocks``, (tracks, rows, dim) each, and ``base`` (rows, dim) at the input."""
        self.blocks = blocks
        self.rows = None if rows.own is None else rows.own.t()
        self.source_rows = None if rows.source is None else rows.source.t()
        self.base, self.base_rows = base, base_rows.own
        try:
            yield
        finally:
            PositionFeed.__init__(self)

    def attach(self, layers: Iterable[nn.Module], first: int = 0) -> None:
        """Feed ``layers``; the first of them is block number ``first`` where it is positive."""
        for block, layer in enumerate(layers):
            if block >= first:
                layer.register_forward_pre_hook(partial(self._to_block, block), with_kwargs=True)

    def _to_block(
        self, block: int, layer: nn.Module, args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> Optional[Tuple[Tuple[Any, ...], Dict[str, Any]]]:
        if block >= len(self.blocks):
            return None
        fed = {"position_tracks": self.blocks[block], "rows": self.rows}
        if self.source_rows is not None:
            fed["source_rows"] = self.source_rows
        return args, {**kwargs, **fed}


class InputPositions(nn.Module):
    """Stands in for fairseq's ``embed_positions``: at token positions, and from the feed.

    Args:
        feed: what serves the vectors.
        encoder: of the base encoding that the bias injection keeps; without one, the vectors are
            the first block's.
    """

    anchor: Tensor

    def __init__(self, feed: PositionFeed, encoder: Optional[PositionEncoder] = None):
        super().__init__()
        self.feed = feed
        self.encoder = encoder
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # the model's precision

    def forward(self, tokens: Tensor, incremental_state: Optional[Dict[str, Any]] = None) -> Tensor:
        """(batch, length, dim); one position, the last, in incremental decoding."""
        base = self.feed.base
        assert base is not None  # a stack with input positions opens its feed with theirs
        return look_up_masked(base, self.feed.base_rows, self.anchor)
