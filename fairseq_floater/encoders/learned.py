"""A learned table: a free vector for every position and track."""

from typing import Any, Dict, List, Optional

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.errors import UserError


class LearnedEncoder(PositionEncoder):
    """Rows of a parameter of shape (tracks, max_positions, dim) (Gehring et al. 2017).

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        max_positions: length of the table; longer input is refused.
        initial_std: standard deviation of the initial table.
    """

    kind = "learned"
    injections = ("additive", "bias")
    max_positions: int

    def __init__(
        self, tracks: int, dim: int, max_positions: int, *, initial_std: float, name: str = "model"
    ):
        super().__init__(tracks, dim, name)
        self.max_positions = max_positions
        self.table = nn.Parameter(torch.empty(tracks, max_positions, dim))
        if initial_std > 0:
            nn.init.normal_(self.table, std=initial_std)
        else:
            nn.init.zeros_(self.table)

    @classmethod
    def from_options(cls, options: Any, wanted: Wanted) -> "LearnedEncoder":
        return cls(
            wanted.tracks,
            wanted.dim,
            wanted.max_positions,
            initial_std=wanted.initial_std,
            name=wanted.name,
        )

    @classmethod
    def from_table(cls, table: Tensor, name: str = "model") -> "LearnedEncoder":
        """An encoder that starts from ``table`` (tracks, positions, dim)."""
        tracks, positions, dim = table.shape
        encoder = cls(tracks, dim, positions, initial_std=0.0, name=name)
        encoder.table.data.copy_(table)
        return encoder

    def first(self, length: int) -> Tensor:
        self._check_length(length)
        table = self.table[:, :length]
        return (table.detach() if self.resting else table).to(self.dtype)

    def state_without_effect(
        self, input_table: Optional[Tensor] = None
    ) -> Optional[Dict[str, Tensor]]:
        state = self._vanishing_state()
        if input_table is not None:
            state["table"] = torch.zeros(self.tracks, *input_table.shape, dtype=input_table.dtype)
            state["table"][0] = input_table
        return state

    def track_parameters(self) -> List[str]:
        return ["table"]

    def output_parameters(self) -> List[str]:
        return ["table"]

    def _check_length(self, length: int) -> None:
        if length > self.max_positions:
            raise UserError(
                f"{self.name}: positions up to {length} are asked for, but the learned position "
                f"encoder holds {self.max_positions}: train with a larger --max-source-positions "
                "and --max-target-positions (for RoBERTa, --max-positions), continue a trained "
                "table with --extend-base-positions, or choose other positions"
            )

    def extra_repr(self) -> str:
        return f"tracks={self.tracks}, max_positions={self.max_positions}, dim={self.dim}"
