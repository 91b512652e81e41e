"""How the vectors of one forward pass reach the blocks of a stack.

fairseq's stacks call their blocks with fixed arguments. A forward pre-hook on each block adds
three more, taken from the feed that the stack has opened for this pass:

    position_tracks (tracks of the block, positions, dim)
    positions (length, batch), which vector of a track is whose, -1 at pads; None if there is but
        one, that of all tokens
    source_positions (source length, batch), for cross-attention

They travel as arguments, not in a closure, so that activation checkpointing sees the tensors
that need a gradient and can run a block twice.
"""

from contextlib import contextmanager
from functools import partial
from typing import Iterable, Iterator, Optional, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.blocks.positions import look_up_masked
from fairseq_floater.encoders import PositionEncoder


class PositionFeed:
    """The vectors of the forward pass under way; empty between passes."""

    def __init__(self):
        self.blocks: Tuple[Tensor, ...] = ()
        self.base: Optional[Tensor] = None
        self.base_positions: Optional[Tensor] = None
        self.positions: Optional[Tensor] = None
        self.source_positions: Optional[Tensor] = None

    @contextmanager
    def opened(
        self,
        blocks: Tuple[Tensor, ...],
        base: Optional[Tensor],
        positions: Optional[Tensor],
        source_positions: Optional[Tensor] = None,
        base_positions: Optional[Tensor] = None,
    ) -> Iterator[None]:
        """Serve ``blocks``, (tracks, positions, dim) each, at positions (batch, length).

        ``base`` (positions, dim) are the vectors of the input, where the blocks' do not do, at
        positions of their own, if given.
        """
        self.blocks = blocks
        self.base = blocks[0][0] if base is None and blocks else base
        self.base_positions = positions
        if base is not None and base_positions is not None:
            self.base_positions = base_positions
        self.positions = None if positions is None else positions.t()
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


class InputPositions(nn.Module):
    """Stands in for fairseq's ``embed_positions``: at token positions, and from the feed.

    Args:
        feed: what serves the vectors.
        encoder: of the base encoding that the bias injection keeps; without one, the vectors are
            the first block's.
    """

    def __init__(self, feed: PositionFeed, encoder: Optional[PositionEncoder] = None):
        super().__init__()
        self.feed = feed
        self.encoder = encoder
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # the model's precision

    def forward(self, tokens: Tensor, incremental_state: Optional[dict] = None) -> Tensor:
        """(batch, length, dim); one position, the last, in incremental decoding."""
        return look_up_masked(self.feed.base, self.feed.base_positions, self.anchor)
