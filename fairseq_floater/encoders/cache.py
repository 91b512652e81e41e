"""Trajectories that are kept until the parameters they were computed from change."""

from typing import List, Optional, Sequence

import torch
from torch import Tensor


class TableCache:
    """A table (tracks, positions, dim) and the parameters it is computed from; empty at first."""

    def __init__(self) -> None:
        self.table: Optional[Tensor] = None
        self._parameters: List[Tensor] = []

    def keep(self, table: Optional[Tensor], parameters: Sequence[Tensor]) -> None:
        """Hold ``table``, which was computed from the present values of ``parameters``."""
        self.table = table
        self._parameters = [p.detach().clone() for p in parameters]

    def drop_unless_of(
        self, parameters: Sequence[Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Empty it if the parameters or the precision have changed; move it to ``device``.

        Values are compared: optimizers write through ``.data``, which no version counter sees. A
        model that was converted to half precision keeps the table of its more precise parameters.
        """
        if self.table is None:
            return
        if self.table.device != device:
            self.table = self.table.to(device)
            self._parameters = [p.to(device) for p in self._parameters]
        same = len(parameters) == len(self._parameters) and all(
            torch.equal(now, kept.to(now.dtype)) for now, kept in zip(parameters, self._parameters)
        )
        if not same or self.table.dtype != dtype:
            self.table = None
