"""Keep what --patience has counted in checkpoints, so that a resumed training goes on counting.

fairseq counts in attributes of ``fairseq_cli.train.should_stop_early``, which end with the process.
"""

import functools
import sys
from typing import Any, Callable, Dict

#: fairseq's attributes: the best validation so far, and how many have not been better since then
COUNTS = ("best", "num_runs")

#: name of the counts in the extra state of a checkpoint
PATIENCE = "patience"


def saving_patience(save: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``Trainer.save_checkpoint`` to save the counts as well."""

    @functools.wraps(save)
    def save_checkpoint(trainer: Any, filename: str, extra_state: Dict[str, Any]) -> Any:
        counts = {name: _counter()[name] for name in COUNTS if name in _counter()}
        return save(trainer, filename, {**extra_state, PATIENCE: counts})

    return save_checkpoint


def restoring_patience(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``Trainer.load_checkpoint`` to go on from the counts.

    They are left out where fairseq leaves out the best score: a new optimizer or new meters mean
    another training.
    """

    @functools.wraps(load)
    def load_checkpoint(
        trainer: Any,
        filename: str,
        reset_optimizer: bool = False,
        *args: Any,
        reset_meters: bool = False,
        **kwargs: Any,
    ) -> Any:
        state = load(trainer, filename, reset_optimizer, *args, reset_meters=reset_meters, **kwargs)
        if state is not None and not reset_optimizer and not reset_meters:
            _counter().update(state.get(PATIENCE, {}))
        return state

    return load_checkpoint


def is_exhausted(patience: int) -> bool:
    """True if as many validations as ``patience`` in a row have not been better."""
    return 0 < patience <= _counter().get("num_runs", 0)


def _counter() -> Dict[str, Any]:
    """Return the attributes in which fairseq-train counts; an empty dict in other programs."""
    count = getattr(sys.modules.get("fairseq_cli.train"), "should_stop_early", None)
    return {} if count is None else vars(count)
