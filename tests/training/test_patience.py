"""What ``--patience`` has counted, in checkpoints and between trainings of one process."""

import sys
from types import SimpleNamespace

import pytest
from fairseq_cli import train

from fairseq_floater.training.patience import is_exhausted, restoring_patience, saving_patience

COUNTED = {"best": 3.0, "num_runs": 2, "metric": "loss"}


@pytest.fixture(autouse=True)
def another_training():
    """What one has left in this process, as jobs of hydra's multirun do."""
    vars(train.should_stop_early).update(best=1.0, num_runs=9)
    yield
    vars(train.should_stop_early).clear()


def trainer(patience=3, metric="loss"):
    checkpoint = SimpleNamespace(patience=patience, best_checkpoint_metric=metric)
    return SimpleNamespace(cfg=SimpleNamespace(checkpoint=checkpoint))


def restored(state, *flags, metric="loss", **options):
    restoring_patience(lambda *args, **kwargs: state)(
        trainer(metric=metric), "x", *flags, **options
    )
    return vars(train.should_stop_early)


def test_a_new_training_begins_to_count():
    assert is_exhausted(9)
    assert restored(None) == {} and not is_exhausted(1)


def test_a_training_goes_on_counting_unless_it_is_another():
    state = {"patience": COUNTED}
    assert restored(state) == {"best": 3.0, "num_runs": 2} and is_exhausted(2)
    assert not is_exhausted(3) and not is_exhausted(0)
    assert restored(state, True) == restored(state, reset_meters=True) == {}
    assert restored(state, metric="bleu") == {}


@pytest.mark.parametrize("damage", [3, {}, {**COUNTED, "num_runs": "x"}, {**COUNTED, "more": 1}])
def test_what_are_no_counts_are_left_out(damage):
    assert restored({"patience": damage}) == restored({}) == {}


def test_a_program_that_was_started_as_a_module_counts_too(monkeypatch):
    """As with ``python -m fairseq_cli.train``."""
    monkeypatch.delitem(sys.modules, "fairseq_cli.train")
    count = SimpleNamespace(num_runs=4)
    monkeypatch.setattr(sys.modules["__main__"], "should_stop_early", count, raising=False)
    assert is_exhausted(4) and not is_exhausted(5)


def test_only_what_is_counted_is_saved():
    vars(train.should_stop_early).update(best=3.0, num_runs=2)
    save = saving_patience(lambda trainer, filename, extra_state: extra_state)
    assert save(trainer(), "x", {"a": 1}) == {"a": 1, "patience": COUNTED}
    assert save(trainer(patience=-1), "x", {}) == {"patience": {}}
