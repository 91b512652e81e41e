"""How the vectors of one forward pass reach the blocks of a stack.

fairseq's stacks call their blocks with fixed arguments. A forward pre-hook on each block adds
three more, taken from the feed that the stack has opened for this pass:

    position_tracks (tracks of the block, positions, dim)
    positions (length, batch), -1 at pads
    source_positions (source length, batch), for cross-attention

They travel as arguments, not in a closure, so that activation checkpointing sees the tensors
that need a gradient and can run a block twice.
"""

from contextlib import contextmanager
from functools import partial
from typing import Iterable, Iterator, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.positions import look_up_masked


class PositionFeed:
    """The vectors of the forward pass under way; empty between passes."""

    def __init__(self):
        self.blocks: Tuple[Tensor, ...] = ()
        self.positions: Optional[Tensor] = None
        self.source_positions: Optional[Tensor] = None

    @contextmanager
    def opened(
        self,
        blocks: Tuple[Tensor, ...],
        positions: Tensor,
        source_positions: Optional[Tensor] = None,
    ) -> Iterator[None]:
        """Serve ``blocks``, (tracks, positions, dim) each, at positions (batch, length)."""
        self.blocks = blocks
        self.positions = positions.t()
        self.source_positions = None if source_positions is None else source_positions.t()
        try:
            yield
        finally:
            self.__init__()

    def attach(self, layers: Iterable[nn.Module], first: int = 0) -> None:
        """Feed ``layers``; the first of them is block number ``first`` where it is positive."""
        for block, layer in enumerate(layers):
            if block >= first:
                layer.register_forward_pre_hook(partial(self._to_block, block), with_kwargs=True)

    def _to_block(self, block: int, layer: nn.Module, args: tuple, kwargs: dict):
        if block >= len(self.blocks):
            return None
        fed = {"position_tracks": self.blocks[block], "positions": self.positions}
        if self.source_positions is not None:
            fed["source_positions"] = self.source_positions
        return args, {**kwargs, **fed}


class FirstBlockPositions(nn.Module):
    """Stands in for fairseq's ``embed_positions``: the vectors of the first block's input."""

    def __init__(self, feed: PositionFeed):
        super().__init__()
        self.feed = feed
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # the model's precision

    def forward(self, tokens: Tensor, incremental_state: Optional[dict] = None) -> Tensor:
        """(batch, length, dim); one position, the last, in incremental decoding."""
        return look_up_masked(self.feed.blocks[0][0], self.feed.positions.t(), self.anchor)
