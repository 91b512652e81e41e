"""Encoders in training on a device other than the CPU, imitated by tensors without values."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fairseq_floater.encoders import KINDS, build_position_encoder
from fairseq_floater.options import PositionOptions

ENCODERS = {kind: {"position_encoder": kind} for kind in KINDS if kind != "none"}
ENCODERS |= {
    "driven": {"dynamics": "driven"},
    "mlp": {"dynamics": "mlp"},
    "mlp, a step over four": {"dynamics": "mlp", "ode_steps_per_position": "1/4"},
    "floater rotation": {"position_injection": "rotation"},
    "floater scores": {"position_injection": "scores"},
}


class Waiting(TorchDispatchMode):
    """Collects names of copies to a device for which the host waits until launched work is done."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        arrived = isinstance(result, torch.Tensor) and result.is_meta
        copied = function.overloadpacket.__name__ in ("_to_copy", "copy_")
        if copied and arrived and not all(tensor.is_meta for tensor in given):
            if not (kwargs or {}).get("non_blocking"):
                self.names.append(str(function))
        return result


@pytest.mark.parametrize("name", ENCODERS)
def test_no_update_waits_for_a_copy(name, monkeypatch):
    """(tests/recipes/test_launches.py checks that no value is read back, and
    tests/models/test_elsewhere.py both, of whole models on a device that has values.)"""
    monkeypatch.setattr("fairseq_floater.devices.free_to_read", lambda tensor: False)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # meta has none
    options = PositionOptions(**ENCODERS[name]).validate()
    sizes = {"heads": 2, "max_positions": 50}
    encoder = build_position_encoder(options, 2, 16, **sizes, seed=1).to("meta")
    for _ in range(2):  # the second time, what is kept exists already
        with Waiting() as waiting:
            table = encoder(40)
            if table.requires_grad:
                table.sum().backward()
    assert waiting.names == []
