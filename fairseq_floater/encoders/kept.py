"""When trajectories are computed again, and when a table of them is kept."""

from contextlib import contextmanager
from typing import Any, ClassVar, Iterator, Optional, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level  # of torch.func; it has no public name

from fairseq_floater.encoders.cache import TableCache
from fairseq_floater.errors import UserError
from fairseq_floater.progress import Progress

Self = TypeVar("Self", bound="KeptTrajectories")


class KeptTrajectories(nn.Module):
    """The part of a position encoder that decides whether its trajectories are computed.

    While gradients are needed, every call computes the trajectories again, for exactly the
    positions asked for, so that all parameters get their gradient at every update. Otherwise the
    table is kept until a parameter or a setting changes, and grows by continuing from its last
    state. ``computed`` calls ``trajectories`` in full precision, ``kept`` returns the table without
    gradients, and ``first`` chooses between these two.

    Args:
        name: what the encoder belongs to, for error messages.
    """

    #: whether a vector follows from the one before it, so that a table takes time to compute and
    #: is worth storing in a checkpoint
    sequential: ClassVar[bool] = False

    #: gradients are taken once in this many updates, and the kept table serves in between
    update_interval = 1
    resting = False

    #: the kept table is known to be of the present parameters; otherwise they are compared
    trusted = False

    #: whether a trainer reports its updates; in training, parameters change only at these then
    counted = False

    #: a kept table grows by this many positions at a time, so that it does not depend on the
    #: order in which lengths were asked for; the number is small because most sentences are short,
    #: and ``--position-encoder-update-interval`` recomputes it after every update of the dynamics;
    #: it is larger where an equation has a closed form
    growth = 64

    anchor: Tensor

    def __init__(self, name: str = "model"):
        super().__init__()
        self.name = name
        # Tells the device and the precision even if there are no parameters.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)
        self._cache = TableCache()

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        """Compute (tracks, positions, dim) at increasing ``positions`` (positions,).

        ``start`` (tracks, dim) are the states at ``positions[0]``, if these are known; otherwise
        the encoder starts from its own initial values, which are those of position 0.
        """
        raise NotImplementedError

    def first(self, length: int) -> Tensor:
        """Return the trajectories at the positions 0 .. length - 1."""
        takes_gradients = self.takes_gradients and any(p.requires_grad for p in self.parameters())
        if takes_gradients or not self._can_keep():
            self.trusted = False
            # Where the first vector follows from none, only further ones give all parameters their
            # gradients, which data-parallel training waits for.
            computed = max(length, 2) if self.sequential else length
            return self.computed(self._range(0, computed))[:, :length]
        return self.kept(length)[:, :length]

    @property
    def takes_gradients(self) -> bool:
        """Whether gradients are taken now."""
        return torch.is_grad_enabled() and not self.resting

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within the context, compute in full precision, with gradients if they are taken now."""
        device = self.anchor.device.type
        with torch.set_grad_enabled(self.takes_gradients), torch.autocast(device, enabled=False):
            yield

    def computed(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        """Call ``trajectories`` in full precision, regardless of the caller's."""
        with self.computing():
            return self.trajectories(positions, start)

    def set_num_updates(self, num_updates: int) -> None:
        """Take the number of updates made so far, which fairseq reports."""
        self.counted = True
        self.resting = num_updates % self.update_interval != 0

    def kept(self, length: int) -> Tensor:
        """Return the table kept while no gradients are taken, of at least ``length`` positions."""
        if not self.trusted:
            self._cache.drop_unless_of(self, self.anchor.device, self.dtype)
        # Between a trainer's updates nothing changes parameters, and those that are frozen or rest
        # do not change at all; comparing them would wait for the device.
        self.trusted = self.counted and self.training and torch.is_grad_enabled()
        table = self._cache.table
        if table is None or table.size(1) < length:
            with torch.inference_mode(False), torch.no_grad():
                try:
                    table = self._grown(table, length)
                except UserError:  # not finite at the end, but perhaps as far as asked
                    return self.computed(self._range(0, length))
            self.adopt(table)
        return table

    def adopt(self, table: Tensor) -> None:
        """Keep a table (tracks, positions, dim) that ``kept`` of an equal encoder returned."""
        self._cache.keep(table, self)

    def _can_keep(self) -> bool:
        """Return whether what is computed now may be kept for later calls.

        Not in torch.export or the transforms of torch.func, where parameters stand for other
        values, nor in a replica of ``nn.DataParallel``, which has none and lives for one pass.
        """
        if torch.compiler.is_compiling():
            return not torch.compiler.is_exporting()
        return not getattr(self, "_is_replica", False) and maybe_current_level() is None

    def train(self: Self, mode: bool = True) -> Self:
        self.trusted = self.trusted and mode == self.training
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.trusted = False
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        # Fairseq reports the updates of a checkpoint that it loads for use before it loads the
        # weights, and those of one to continue from afterwards; only the latter are a trainer's.
        self.trusted = self.resting = False
        super()._load_from_state_dict(*args, **kwargs)

    def _grown(self, table: Optional[Tensor], length: int) -> Tensor:
        if table is None:
            table = self.computed(self._range(0, self.growth + 1)).contiguous()
        pieces, reached, state = [table], table.size(1), table[:, -1]
        progress = Progress(f"{self.name}: position", length)
        while reached < length:
            progress.reached(reached)
            more = self.computed(self._range(reached - 1, reached + self.growth), state)
            pieces.append(more[:, 1:])
            reached, state = reached + self.growth, more[:, -1]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the trajectories: half precision is too coarse to accumulate in."""
        return torch.float64 if self.anchor.dtype == torch.float64 else torch.float32

    def _range(self, first: int, last: int) -> Tensor:
        return torch.arange(first, last, dtype=torch.float64)
