"""What every position encoder is: a function from positions to trajectories."""

from abc import abstractmethod
from typing import Dict, List, Optional, Union

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.kept import KeptTable
from fairseq_floater.errors import UserError


class PositionEncoder(nn.Module):
    """Maps positions to trajectories of shape (tracks, positions, dim).

    A track is one trajectory: the vector added at one block, or the bias of one projection. An
    encoder knows neither what model it serves nor what is done with its tracks.

    While gradients are needed, every call computes the trajectories anew, for just as many
    positions as asked, so that all parameters get their gradient at every update. Otherwise the
    table is kept until a parameter changes, and grows by continuing from its last state.

    Args:
        tracks: number of trajectories.
        dim: size of each vector.
        name: what the encoder belongs to, for error messages.
    """

    #: the longest input, in positions; None where there is no limit
    max_positions: Optional[int] = None

    #: whether a vector follows from the one before it, so that a table takes time to compute
    sequential = False

    #: gradients are taken at every so many updates, and the kept table serves in between
    update_interval = 1
    resting = False

    #: a kept table grows by this many positions at a time, so that it does not depend on the
    #: order in which lengths were asked for; few, since ``--dynamics-update-interval`` recomputes
    #: it after every update of the dynamics, and most sentences are short
    growth = 64

    def __init__(self, tracks: int, dim: int, name: str = "model"):
        super().__init__()
        self.tracks = tracks
        self.dim = dim
        self.name = name
        # Tells device and precision also where there are no parameters.
        self.register_buffer("anchor", torch.zeros(()), persistent=False)
        self._kept = KeptTable()

    @abstractmethod
    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        """Compute (tracks, positions, dim) at ``positions`` (positions,), increasing.

        ``start`` (tracks, dim) are the states at ``positions[0]``, when these are known; else
        the encoder starts from its own initial values, which stand at position 0.
        """

    def forward(self, positions: Union[int, Tensor], unchanged: bool = False) -> Tensor:
        """Trajectories (tracks, positions, dim), in float32, or float64 in a double model.

        Args:
            positions: how many positions, counted from 0; or explicit increasing ones
                (positions,) >= 0, measured in positions, with any gaps between them.
            unchanged: the parameters are those of the last call, as in all but the first step of
                a generation; spares the look at them.

        Raises:
            UserError: for no positions, ones beyond ``max_positions``, or ones between whole
                positions where the encoder has none there.
        """
        if isinstance(positions, Tensor):
            return self.at(self._validated(positions))
        if positions < 1:
            raise UserError(f"{self.name}: the number of positions must be >= 1, got {positions}")
        return self.first(positions, unchanged)

    def at(self, positions: Tensor, unchanged: bool = False) -> Tensor:
        """Trajectories (tracks, positions, dim) at any ``positions`` (positions,), rising, >= 0.

        From the same table as ``first``, so that training and generation agree.

        Raises:
            UserError: for ones that are not whole, if the encoder has whole positions only.
        """
        whole = positions.round().long()
        if not bool((positions == whole).all()):
            raise UserError(f"{self.name}: this position encoder has whole positions only")
        table = self.first(int(whole[-1]) + 1, unchanged)
        return table[:, whole.to(table.device)]

    def first(self, count: int, unchanged: bool = False) -> Tensor:
        """Trajectories at the positions 0 .. count - 1."""
        if torch.is_grad_enabled() and not self.resting:
            if any(p.requires_grad for p in self.parameters()):
                return self.trajectories(self._range(0, count))
        return self.kept(count, unchanged)[:, :count]

    def set_num_updates(self, num_updates: int) -> None:
        """fairseq's word on how many updates were made."""
        self.resting = num_updates % self.update_interval != 0

    def kept(self, count: int, unchanged: bool = False) -> Tensor:
        """The table kept for inference, of at least ``count`` positions."""
        if not unchanged:
            self._kept.drop_unless_of(list(self.parameters()), self.anchor.device, self.dtype)
        table = self._kept.table
        if table is None or table.size(1) < count:
            with torch.inference_mode(False), torch.no_grad():
                try:
                    table = self._grown(table, count)
                except UserError:  # not finite in the end, and yet perhaps as far as asked
                    return self.trajectories(self._range(0, count))
            self.keep(table)
        return table

    def keep(self, table: Tensor) -> None:
        """Take over a table (tracks, positions, dim) that ``kept`` of an equal encoder made."""
        self._kept.keep(table, list(self.parameters()))

    def _grown(self, table: Optional[Tensor], count: int) -> Tensor:
        if table is None:
            table = self.trajectories(self._range(0, self.growth + 1)).contiguous()
        while table.size(1) < count:
            last = table.size(1) - 1
            more = self.trajectories(self._range(last, last + self.growth + 1), table[:, last])
            table = torch.cat([table, more[:, 1:]], dim=1)
        return table

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the trajectories: half precision is too coarse to accumulate in."""
        return torch.float64 if self.anchor.dtype == torch.float64 else torch.float32

    def starting_at(self, first: Optional[Tensor] = None) -> Optional[Dict[str, Tensor]]:
        """A state dict with which a trained model computes what it did without this encoder.

        The first track is ``first`` (positions, dim), or 0 when not given, all others are 0, and
        yet every parameter can learn (paper, section 3.3). None if there is no such state.
        """
        return self._vanishing_state() if first is None else None

    def _vanishing_state(self) -> Dict[str, Tensor]:
        zero = tuple(self.output_parameters())
        return {
            name: torch.zeros_like(value) if name.startswith(zero) else value.clone()
            for name, value in self.state_dict().items()
        }

    def output_parameters(self) -> List[str]:
        """Beginnings of the names of those parameters without which all trajectories are 0."""
        return []

    def _range(self, first: int, last: int) -> Tensor:
        return torch.arange(first, last, dtype=torch.float64)

    def _validated(self, positions: Tensor) -> Tensor:
        positions = positions.detach().to("cpu", torch.float64)
        bad = positions.dim() != 1 or positions.numel() == 0
        if bad or positions[0] < 0 or not bool((positions.diff() > 0).all()):
            raise UserError(
                f"{self.name}: explicit positions must be one increasing row of numbers >= 0, "
                f"got shape {tuple(positions.shape)}"
            )
        return positions
