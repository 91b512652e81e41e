"""What every position encoder is: a function from positions to trajectories."""

from dataclasses import dataclass
from typing import (
    Any,
    ClassVar,
    Dict,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Type,
    Union,
)

import torch
from torch import Tensor

from fairseq_floater.encoders.kept import KeptTrajectories
from fairseq_floater.errors import UserError


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


class PositionEncoder(KeptTrajectories):
    """Maps positions to trajectories of shape (tracks, positions, dim).

    A track is one trajectory: the vector added at one block, the bias of one projection, the angles
    of one rotation, or each head's scores in one direction. For ``scores`` and ``relative``, the
    distance of two tokens takes the place of a position. An encoder knows neither which model it
    serves nor what is done with its tracks.

    A subclass is a kind of position encoder. Its class attributes say all that the rest of the
    project needs to know about the kind, and ``from_options`` builds an encoder.

    A subclass implements ``trajectories``. ``first`` is for the positions from 0 on, and says when
    they are computed again and when a table is kept (``KeptTrajectories``); ``at`` is for positions
    of any kind. Calling the encoder calls one of these two.

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

    def __init__(self, tracks: int, dim: int, name: str = "model"):
        super().__init__(name)
        self.tracks = tracks
        self.dim = dim

    @classmethod
    def from_options(cls, options: Any, wanted: Wanted) -> "PositionEncoder":
        """Build the encoder that validated ``options`` describe."""
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

    def last(self, length: int) -> Tensor:
        """Return the trajectories at position length - 1, (tracks, 1, dim), as ``first`` does."""
        return self.first(length)[:, length - 1 :]

    @property
    def row_size(self) -> int:
        """How many numbers a row of its tables has, for one position of one track."""
        return self.dim

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

    def _validated(self, positions: Tensor) -> Tensor:
        positions = positions.detach().to("cpu", torch.float64)
        right = positions.dim() == 1 and len(positions) > 0 and bool(positions.isfinite().all())
        if not right or positions[0] < 0 or not bool((positions.diff() > 0).all()):
            raise UserError(
                f"{self.name}: explicit positions must be one increasing row of finite numbers "
                f">= 0, got {str(positions.tolist()):.60}"
            )
        return positions
