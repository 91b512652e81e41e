"""Keep what --patience has counted in checkpoints, so that a resumed training goes on counting.

fairseq counts in attributes of ``fairseq_cli.train.should_stop_early``, which end with the process.
"""

import functools
import sys
from typing import Any, Callable, Dict

#: fairseq's attributes: the best validation so far, and how many have not been better since then
COUNTS = ("best", "num_runs")

#: the modules in which fairseq-train may be: the second if it was started as a module
PROGRAMS = ("fairseq_cli.train", "__main__")

#: name of the counts in the extra state of a checkpoint
PATIENCE = "patience"


def saving_patience(save: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``Trainer.save_checkpoint`` to save the counts as well."""

    @functools.wraps(save)
    def save_checkpoint(trainer: Any, filename: str, extra_state: Dict[str, Any]) -> Any:
        counts = {}
        if trainer.cfg.checkpoint.patience > 0:  # otherwise fairseq does not count
            counts = {name: _counter()[name] for name in COUNTS if name in _counter()}
            counts["metric"] = trainer.cfg.checkpoint.best_checkpoint_metric
        return save(trainer, filename, {**extra_state, PATIENCE: counts})

    return save_checkpoint


def restoring_patience(load: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``Trainer.load_checkpoint`` to go on from the counts.

    They are left out where fairseq leaves out the best score, as a new optimizer or new meters mean
    another training, and where another metric was counted.
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
        for name in COUNTS:
            _counter().pop(name, None)  # of another training in this process
        state = load(trainer, filename, reset_optimizer, *args, reset_meters=reset_meters, **kwargs)
        counts = {} if state is None or reset_optimizer or reset_meters else state.get(PATIENCE)
        if _are_counts(counts, trainer.cfg.checkpoint.best_checkpoint_metric):
            _counter().update((name, counts[name]) for name in COUNTS)
        return state

    return load_checkpoint


def is_exhausted(patience: int) -> bool:
    """True if as many validations as ``patience`` in a row have not been better."""
    return 0 < patience <= _counter().get("num_runs", 0)


def _are_counts(found: Any, metric: str) -> bool:
    """True for whole counts of a metric; a checkpoint may have none, or be damaged."""
    known = isinstance(found, dict) and found.keys() == {*COUNTS, "metric"}
    numbers = known and all(isinstance(found[name], (int, float)) for name in COUNTS)
    return numbers and found["metric"] == metric


def _counter() -> Dict[str, Any]:
    """Return the attributes in which fairseq-train counts; an empty dict in other programs."""
    programs = (sys.modules.get(name) for name in PROGRAMS)
    counts = (getattr(program, "should_stop_early", None) for program in programs)
    return next((vars(count) for count in counts if count is not None), {})
