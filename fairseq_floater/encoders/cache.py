"""Trajectories that are kept until what they were computed from changes."""

from typing import Dict, List, Optional

import torch
from torch import Tensor, nn


class TableCache:
    """A table (tracks, positions, dim) and what it is computed from; empty at first."""

    def __init__(self) -> None:
        self.table: Optional[Tensor] = None
        self._values: Dict[str, Tensor] = {}
        self._settings: List[str] = []

    def keep(self, table: Tensor, encoder: nn.Module) -> None:
        """Hold ``table``, computed from the present weights and settings of ``encoder``."""
        self.table = table
        self._values = {name: value.detach().clone() for name, value in _values(encoder).items()}
        self._settings = settings_of(encoder)

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
        if values.keys() != self._values.keys() or settings_of(encoder) != self._settings:
            return False
        return all(
            torch.equal(now, self._values[name].to(now.dtype)) for name, now in values.items()
        )


def settings_of(encoder: nn.Module) -> List[str]:
    """Return the settings of an encoder and of its parts, on which its table depends."""
    return [f"{name}: {type(m).__name__} {m.extra_repr()}" for name, m in encoder.named_modules()]


def _values(encoder: nn.Module) -> Dict[str, Tensor]:
    """Return parameters and buffers by name; pruning masks parameters by buffers."""
    buffers = {name: value for name, value in encoder.named_buffers() if name != "anchor"}
    return {**dict(encoder.named_parameters()), **buffers}
