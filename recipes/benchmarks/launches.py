"""Count the launches of an update, and its waits, with each position encoder.

The speed of a GPU depends on both. A small operation costs a launch of 5 to 10 microseconds,
whatever it computes, and a value that the program reads back makes it wait until everything
launched so far is done. Launches and waits are counted here as operations reach torch's kernels,
forward and backward, without any GPU. Views launch nothing and are not counted. Operations on
tensors that stay on the host, such as times, are not counted either. Dropout is one operation
forward, as on a GPU; on the host it is three.

    python recipes/benchmarks/launches.py > launches.md
"""

import argparse
import sys
from collections import Counter
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional
from unittest.mock import patch

import torch
from models import SIZES, STOCK, build, dictionary
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from fairseq_floater import devices
from fairseq_floater.progress import Progress

VARIANTS: Dict[str, Optional[Dict[str, Any]]] = {
    STOCK: None,
    "sinusoidal, input": {"position_encoder": "sinusoidal", "position_blocks": "input"},
    "floater, mlp": {"position_encoder": "floater", "dynamics": "mlp"},
    "floater, linear": {"position_encoder": "floater", "dynamics": "linear"},
    "floater, driven": {"position_encoder": "floater", "dynamics": "driven"},
    "floater, rotation, linear": {
        **{"position_encoder": "floater", "dynamics": "linear"},
        "position_injection": "rotation",
    },
    "floater, scores, linear": {
        **{"position_encoder": "floater", "dynamics": "linear"},
        "position_injection": "scores",
    },
    "fourier": {"position_encoder": "fourier"},
    "learned": {"position_encoder": "learned"},
    "rotary": {"position_encoder": "rotary"},
    "relative-bias": {"position_encoder": "relative-bias"},
    "alibi": {"position_encoder": "alibi"},
    "shaw": {"position_encoder": "shaw"},
    "fire": {"position_encoder": "fire"},
    "none": {"position_encoder": "none"},
}

#: operations whose result the program reads, so that it waits for them
READ_BACK = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique")
#: operations that launch no kernel although they are not views
FREE = ("empty", "detach", "alias", "_unsafe_view", "lift_fresh", "_reshape_alias")


class Counts(NamedTuple):
    """The counts of one update: launches forward and backward, and waits for the device."""

    forward: int
    backward: int
    waits: int

    @property
    def launches(self) -> int:
        return self.forward + self.backward


class Counting(TorchDispatchMode):
    """Counts operations by name while it is entered.

    Args:
        device: tensors that would be on the device, as would all that are computed from them, or
            placed there by ``Placing``. If None, all tensors count as on the device.
    """

    def __init__(self, device: Optional[Iterable[Tensor]] = None) -> None:
        super().__init__()
        self.seen: Counter = Counter()
        self.waits: Counter = Counter()
        self.device = None if device is None else WeakTensorKeyDictionary({t: 1 for t in device})
        self.placing = False  # on the device whatever the arguments are
        self.within = ""  # the operation of the device that the current ones are parts of

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore
        result = function(*args, **(kwargs or {}))
        if not (self.device is None or self.placing or self.on_device((args, kwargs))):
            return result
        for tensor in tensors(result) if self.device is not None else ():
            self.device[tensor] = 1
        if self.within:
            return result
        name = function.overloadpacket.__name__
        if name.startswith(READ_BACK):
            self.waits[name] += 1
        elif not function.is_view and not name.startswith(FREE):
            self.seen[name] += 1
        return result

    def on_device(self, values: Any) -> bool:
        """True if one of the tensors in ``values`` is on the device."""
        return any(tensor in self.device for tensor in tensors(values))


class Placing(TorchFunctionMode):
    """Tells a ``Counting`` which tensors are made on the device or copied there, by their call.

    On the host, operations do not show that: the device of all tensors is the CPU. A call that
    names a device counts as one on the device, unless it is called "cpu".
    """

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore
        counting, kwargs = self.counting, kwargs or {}
        if function is functional.dropout and counting.on_device(args):
            with holding(counting, within="native_dropout"):
                result = function(*args, **kwargs)
            if result is not args[0]:
                counting.seen["native_dropout"] += 1
            return result
        place = [*args[1:2], *kwargs.values()] if function in (Tensor.to, Tensor.type_as) else []
        if kwargs.get("device") in (None, "cpu") and not (
            any(isinstance(part, torch.device) for part in place) or counting.on_device(place)
        ):
            return function(*args, **kwargs)
        with holding(counting, placing=True):
            result = function(*args, **kwargs)
            if any(result is part for part in args[:1]) and not counting.on_device(result):
                result = result.clone()  # where nothing is copied, since both are the CPU
        return result


@contextmanager
def holding(counting: Counting, **values: Any) -> Iterator[None]:
    """Within the context, set attributes of ``counting``."""
    before = {name: getattr(counting, name) for name in values}
    vars(counting).update(values)
    try:
        yield
    finally:
        vars(counting).update(before)


def tensors(values: Any) -> List[Tensor]:
    """Return all tensors in nested values."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Make the package treat every value as one that it would have to wait for."""
    with patch.object(devices, "free_to_read", lambda tensor: False):
        yield


def count(model: torch.nn.Module, words: int, positions: int, sentences: int = 2) -> Counts:
    """Count an update of ``model`` on sentences of so many positions, once its tables are made."""
    source, target = torch.randint(4, words, (2, sentences, positions))
    lengths = torch.full((sentences,), positions)
    there = [source, target, lengths, *model.parameters(), *model.buffers()]
    forward = Counting(there)
    for _ in range(2):  # the second time, the tables are there
        model.zero_grad()
        forward.seen.clear()
        forward.waits.clear()
        with as_on_a_device(), forward, Placing(forward):
            logits, _ = model(source, lengths, target)
            loss = logits.float().log_softmax(-1)[..., 0].sum()
        with Counting() as backward:
            loss.backward()
    waits = forward.waits.total() + backward.waits.total()
    return Counts(forward.seen.total(), backward.seen.total(), waits)


def table(size: str, lengths: List[int], variants: List[str]) -> Dict[str, Dict[int, Counts]]:
    """Return the counts by variant and number of positions."""
    words = dictionary(1000)
    progress = Progress(f"launches, {size}: model", len(variants))
    rows = {}
    for number, variant in enumerate(variants):
        progress.reached(number)
        model = build(size, VARIANTS[variant], words).train()
        rows[variant] = {length: count(model, len(words), length) for length in lengths}
    return rows


def markdown(size: str, rows: Dict[str, Dict[int, Counts]]) -> str:
    """Return the table, with the ratio to the first row."""
    first = next(iter(rows.values()))
    heads = " | ".join(f"{length} positions" for length in first)
    lines = [f"## {size}", "", f"| | {heads} | waits |", "|---" * (len(first) + 2) + "|"]
    for variant, counts in rows.items():
        cells = [
            f"{c.launches:,} ({c.launches / first[n].launches:.2f})" for n, c in counts.items()
        ]
        waits = max(c.waits for c in counts.values())
        lines.append(f"| {variant} | {' | '.join(cells)} | {waits} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--positions", nargs="+", type=int, default=[32, 128, 1024])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    args = parser.parse_args()
    print("# Launches of an update, and waits for the device\n")
    print("In brackets, relative to the first row. Forward, loss and backward, without Adam.")
    for size in args.sizes:
        variants = [STOCK, *(name for name in args.variants if name != STOCK)]
        print("\n" + markdown(size, table(size, args.positions, variants)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
