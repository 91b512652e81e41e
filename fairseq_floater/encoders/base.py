"""What every position encoder is: a function from positions to trajectories."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import (
    Any,
    ClassVar,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Type,
    Union,
)

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level  # of torch.func; it has no public name

from fairseq_floater.encoders.cache import TableCache
from fairseq_floater.errors import UserError
from fairseq_floater.progress import Progress


class Wanted(NamedTuple):
    """What a stack of blocks asks of its position encoder.

    Attributes:
        tracks: number of trajectories, block by block.
        dim: width of the blocks.
        injection: what the tracks are for, see ``PositionEncoder.injections``.
        heads: number of heads of the attention that the tracks act in.
        causal: whether a token sees only itself and those before it, so that distances have one
            direction.
        beside_input: whether the blocks' input has positions of its own beside the tracks.
        name: what the encoder belongs to, for error messages.
        offset: the sinusoidal number of the first position.
        max_positions: length of a table, for encoders that have a maximum length.
        blocks: numbers of the blocks that have tracks, from 0; None if only the first has any.
    """

    tracks: int
    dim: int
    injection: str
    heads: int = 1
    causal: bool = False
    beside_input: bool = False
    name: str = "model"
    offset: int = 0
    max_positions: int = 1024
    blocks: Optional[Tuple[int, ...]] = None

    @property
    def directions(self) -> int:
        """Number of directions in which tokens see: to those before and, unless causal, after."""
        return 1 if self.causal else 2

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.heads

    @property
    def initial_std(self) -> float:
        """Standard deviation of the initial values.

        Biases start at 0, so that a model starts as its base model. Vectors that are a block's only
        positions must not start at 0.
        """
        return 0.0 if self.injection == "bias" else float(self.dim**-0.5)


@dataclass
class KindOptions:
    """The flags that a kind of position encoder reads: none by default.

    The methods are called on options that have other fields besides those of this class.
    """

    def check(self) -> None:
        """Check combinations, which no single range can. Raises ``UserError``."""

    def unread(self) -> Set[str]:
        """Return the fields that are not read, given the values of the other fields."""
        return set()


class PositionEncoder(nn.Module):
    """Maps positions to trajectories of shape (tracks, positions, dim).

    A track is one trajectory: the vector added at one block, the bias of one projection, the angles
    of one rotation, or each head's scores in one direction. For ``scores`` and ``relative``, the
    distance of two tokens takes the place of a position. An encoder knows neither which model it
    serves nor what is done with its tracks.

    A subclass is a kind of position encoder. Its class attributes say all that the rest of the
    project needs to know about the kind, and ``from_options`` builds an encoder.

    While gradients are needed, every call computes the trajectories again, for exactly the
    positions asked for, so that all parameters get their gradient at every update. Otherwise the
    table is kept until a parameter or a setting changes, and grows by continuing from its last
    state. A subclass implements ``trajectories``. ``computed`` calls it in full precision, ``kept``
    returns the table without gradients, ``first`` chooses between these two for the positions from
    0 on, and ``at`` is for positions of any kind. Calling the encoder calls ``first`` or ``at``.

    Args:
        tracks: number of trajectories.
        dim: size of each vector.
        name: what the encoder belongs to, for error messages.
    """

    #: value of ``--position-encoder``
    kind: ClassVar[str]

    #: dataclass of the flags it reads, besides those that say where positions go
    Options: ClassVar[Type[Any]] = KindOptions

    #: what its tracks can be used for, the default first: ``additive`` adds one vector to a block's
    #: input, ``bias`` adds to the queries, keys and values of attention, ``rotation`` turns queries
    #: and keys by angles, ``scores`` adds to each head's logits by distance, ``relative`` adds
    #: vectors by distance to keys and values as a query sees them
    injections: ClassVar[Tuple[str, ...]] = ("additive",)

    #: whether a score depends on the positions of both tokens, not on their distance alone; such an
    #: encoder is a ``DistanceEncoder`` with a method ``pairs``
    by_pair: ClassVar[bool] = False

    #: whether, as ``rotation``, it turns by the same angle from each position to the next, so that
    #: only distances count in self-attention
    even_rotation: ClassVar[bool] = False

    #: beginnings of the names of the parameters that all tracks share, whose learning rate
    #: ``--dynamics-lr-scale`` scales
    shared_parameters: ClassVar[Tuple[str, ...]] = ()

    #: whether it can have parameters
    learns: ClassVar[bool] = True

    #: options that, besides the weights, determine the trajectories of a trained model
    defined_by: ClassVar[Tuple[str, ...]] = ()

    #: the longest input, in positions; None if there is no limit
    max_positions: Optional[int] = None

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
    #: and ``--position-encoder-update-interval`` recomputes it after every update of the dynamics
    growth = 64

    anchor: Tensor

    def __init__(self, tracks: int, dim: int, name: str = "model"):
        super().__init__()
        self.tracks = tracks
        self.dim = dim
        self.name = name
        # Tells the device and the precision even if there are no parameters.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)
        self._cache = TableCache()

    @classmethod
    def from_options(cls, options: Any, wanted: Wanted) -> "PositionEncoder":
        """Build the encoder that validated ``options`` describe."""
        raise NotImplementedError

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        """Compute (tracks, positions, dim) at increasing ``positions`` (positions,).

        ``start`` (tracks, dim) are the states at ``positions[0]``, if these are known; otherwise
        the encoder starts from its own initial values, which are those of position 0.
        """
        raise NotImplementedError

    def forward(self, positions: Union[int, Tensor], shared: bool = False) -> Tensor:
        """Return trajectories (tracks, positions, dim), in float32, or float64 in a double model.

        Args:
            positions: how many positions, counted from 0; or explicit increasing positions
                (positions,) >= 0, measured in positions, with any gaps between them.
            shared: whether the result may be part of the kept table or of the weights; it must not
                be written to then.

        Raises:
            UserError: for no positions, for positions beyond ``max_positions``, or for positions
                that are not whole if the encoder has whole positions only.
        """
        if isinstance(positions, Tensor):
            vectors = self.at(self._validated(positions))
        elif positions < 1:
            raise UserError(f"{self.name}: the number of positions must be >= 1, got {positions}")
        else:
            vectors = self.first(positions)
        return vectors if shared else vectors.clone()

    def at(self, positions: Tensor) -> Tensor:
        """Return trajectories (tracks, positions, dim) at any increasing (positions,) >= 0.

        They come from the same table as those of ``first``, or both from the same closed form, so
        that training and generation agree.

        Raises:
            UserError: for positions that are not whole, if the encoder has whole positions only.
        """
        whole = positions.round().long()
        between = positions[positions != whole]
        if len(between):
            raise UserError(
                f"{self.name}: position {between[0].item():g} is asked for, but the position "
                f"encoder {self.kind} has whole positions only: give whole ones"
            )
        table = self.first(int(whole[-1]) + 1)
        return table[:, whole.to(table.device)]

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

    def last(self, length: int) -> Tensor:
        """Return the trajectories at position length - 1, (tracks, 1, dim), as ``first`` does."""
        return self.first(length)[:, length - 1 :]

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
            self.keep(table)
        return table

    def keep(self, table: Tensor) -> None:
        """Adopt a table (tracks, positions, dim) that ``kept`` of an equal encoder returned."""
        self._cache.keep(table, self)

    def _can_keep(self) -> bool:
        """Return whether what is computed now may be kept for later calls.

        Not in torch.export or the transforms of torch.func, where parameters stand for other
        values, nor in a replica of ``nn.DataParallel``, which has none and lives for one pass.
        """
        if torch.compiler.is_compiling():
            return not torch.compiler.is_exporting()
        return not getattr(self, "_is_replica", False) and maybe_current_level() is None

    def train(self, mode: bool = True) -> "PositionEncoder":
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
    def row_size(self) -> int:
        """How many numbers a row of its tables has, for one position of one track."""
        return self.dim

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the trajectories: half precision is too coarse to accumulate in."""
        return torch.float64 if self.anchor.dtype == torch.float64 else torch.float32

    def state_without_effect(
        self, input_table: Optional[Tensor] = None
    ) -> Optional[Dict[str, Tensor]]:
        """Return a state dict with which a trained model computes what it did without this encoder.

        The first track is ``input_table`` (positions, dim), or 0 if that is not given. All others
        are 0, yet every parameter can learn (paper, section 3.3). None if there is no such state.
        """
        if input_table is not None or not self.output_parameters():
            return None
        return self._vanishing_state()

    def _vanishing_state(self) -> Dict[str, Tensor]:
        zero = tuple(self.output_parameters())
        return {
            name: torch.zeros_like(value) if name.startswith(zero) else value.clone()
            for name, value in self.state_dict().items()
        }

    @classmethod
    def defining(cls, options: Any) -> Tuple[str, ...]:
        """Return the options of ``defined_by`` that count, given the values of the others."""
        return cls.defined_by

    @classmethod
    def departs_from(cls, options: Any) -> Optional[Dict[str, Any]]:
        """Return options of the peer whose logits a new model starts from and bends, or None."""
        return None

    def track_parameters(self) -> List[str]:
        """Return the names of the parameters whose first dimension is the tracks."""
        return []

    def output_parameters(self) -> List[str]:
        """Return beginnings of the names of parameters that, when 0, make all trajectories 0."""
        return []

    def extra_repr(self) -> str:
        """Return the settings as printed; a table in a checkpoint counts only if they are the same.

        These are all plain values that a kind sets on itself, unless it overrides this method.
        """
        plain = (bool, int, float, str, tuple)
        return ", ".join(
            f"{name}={value}"
            for name, value in vars(self).items()
            if isinstance(value, plain) and name not in ("training", "name")
            if not name.startswith("_") and not hasattr(PositionEncoder, name)
        )

    def _range(self, first: int, last: int) -> Tensor:
        return torch.arange(first, last, dtype=torch.float64)

    def _validated(self, positions: Tensor) -> Tensor:
        positions = positions.detach().to("cpu", torch.float64)
        right = positions.dim() == 1 and len(positions) > 0 and bool(positions.isfinite().all())
        if not right or positions[0] < 0 or not bool((positions.diff() > 0).all()):
            raise UserError(
                f"{self.name}: explicit positions must be one increasing row of finite numbers "
                f">= 0, got {str(positions.tolist()):.60}"
            )
        return positions
