"""How the tracks of one forward pass reach the blocks of a stack.

fairseq's stacks call their blocks with fixed arguments. A forward pre-hook on each block adds
more, taken from the feed that the stack has opened for this pass:

    position_tracks (tracks of the block, rows, dim): vectors, or what their form has computed from
        them (``forms``)
    base_tracks: likewise, of base positions within attention
    rows (length, 1 or batch): the row of them that each token reads; for vectors at the input, -1
        at pads; None if there is only one row, which all tokens read
    source_rows (source length, 1 or batch): likewise, for cross-attention

In later decoding steps with biases, ``steps`` takes the place of position_tracks.

Tensors travel as arguments, not in a closure, so that activation checkpointing sees those that need
a gradient and can run a block twice. The state of a pass is kept on the stack while it lasts, so
threads that share a model pass through each of its stacks one after the other.
"""

import threading
from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.blocks.places import Rows, look_up_masked
from fairseq_floater.encoders import PositionEncoder


class Pass(NamedTuple):
    """What is fed in one forward pass.

    Attributes:
        blocks: the arguments of each block except the rows; see above.
        rows: the rows that the blocks' tokens read, length first.
        input: (rows, dim), the vectors of the input; None if there are none.
        input_rows: (1 or batch, length), the rows that the input's tokens read.
    """

    blocks: Sequence[Mapping[str, Any]]
    rows: Rows
    input: Optional[Tensor]
    input_rows: Optional[Tensor]


class PositionFeed:
    """Serves the blocks the vectors of the current forward pass, if there is one.

    A thread holds the lock ``alone`` during its pass, since the feed and the stack keep the state
    of one pass only.
    """

    def __init__(self) -> None:
        self.current: Optional[Pass] = None
        self.alone = threading.RLock()

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), ()  # a copy has no pass, and a lock of its own

    @contextmanager
    def opened(self, current: Pass) -> Iterator[None]:
        """Serve ``current`` within the context."""
        self.current = current
        try:
            yield
        finally:
            self.current = None

    def attach(self, layers: Iterable[nn.Module], first: int = 0) -> None:
        """Feed ``layers``, starting with number ``first``."""
        for block, layer in enumerate(layers):
            if block >= first:
                layer.register_forward_pre_hook(partial(self._to_block, block), with_kwargs=True)

    def _to_block(
        self, block: int, layer: nn.Module, args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> Optional[Tuple[Tuple[Any, ...], Dict[str, Any]]]:
        if self.current is None or block >= len(self.current.blocks):
            return None
        fed = {**self.current.blocks[block], "rows": self.current.rows.tokens}
        if self.current.rows.source is not None:
            fed["source_rows"] = self.current.rows.source
        return args, {**kwargs, **fed}


class InputPositions(nn.Module):
    """Replaces fairseq's ``embed_positions``: looks up vectors of the feed at token positions.

    Args:
        feed: serves the vectors.
        encoder: the encoder of the base model's positions at the input, if these are kept; without
            one, the vectors are the first block's.
    """

    anchor: Tensor

    def __init__(self, feed: PositionFeed, encoder: Optional[PositionEncoder] = None):
        super().__init__()
        self.feed = feed
        self.encoder = encoder
        self.register_buffer("anchor", torch.zeros(()), persistent=False)  # the model's precision

    def forward(self, tokens: Tensor, incremental_state: Optional[Dict[str, Any]] = None) -> Tensor:
        """Return (batch, length, dim); in incremental decoding, only the last position.

        Raises:
            RuntimeError: outside a pass.
        """
        current = self.feed.current
        if current is None or current.input is None:
            raise RuntimeError("no positions are known here: call the stack's own forward")
        return look_up_masked(current.input, current.input_rows, self.anchor)
