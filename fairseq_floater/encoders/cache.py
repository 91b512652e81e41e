"""Trajectories that are kept until what they were computed from changes."""

from typing import Dict, Optional

import torch
from torch import Tensor, nn


class TableCache:
    """A table (tracks, positions, dim) and what it is computed from; empty at first."""

    def __init__(self) -> None:
        self.table: Optional[Tensor] = None
        self._values: Dict[str, Tensor] = {}
        self._settings = ""

    def keep(self, table: Optional[Tensor], encoder: nn.Module) -> None:
        """Hold ``table``, which was computed from the present parameters of ``encoder``."""
        self.table = table
        self._values = {name: value.detach().clone() for name, value in _values(encoder).items()}
        self._settings = encoder.extra_repr()

    def drop_unless_of(self, encoder: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Empty it if the encoder or the precision has changed; move it to ``device``.

        Values are compared: optimizers write through ``.data``, which no version counter sees. A
        model that was converted to half precision keeps the table of its more precise parameters.
        """
        if self.table is None:
            return
        if self.table.device != device:
            self.table = self.table.to(device)
            self._values = {name: value.to(device) for name, value in self._values.items()}
        if self.table.dtype != dtype or not self._is_of(encoder):
            self.table = None

    def _is_of(self, encoder: nn.Module) -> bool:
        values = _values(encoder)
        if values.keys() != self._values.keys() or encoder.extra_repr() != self._settings:
            return False
        return all(
            torch.equal(now, self._values[name].to(now.dtype)) for name, now in values.items()
        )


def _values(encoder: nn.Module) -> Dict[str, Tensor]:
    """Return parameters and buffers by name; pruning masks parameters by buffers."""
    buffers = {name: value for name, value in encoder.named_buffers() if name != "anchor"}
    return {**dict(encoder.named_parameters()), **buffers}
