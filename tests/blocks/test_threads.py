"""Threads that share a model, and copies of it while it runs."""

import copy
import sys
import threading

import pytest
import torch
from conftest import make_batch, make_model, steps

BATCHES = [make_batch((5, 9, 3), (7, 4, 6)), make_batch((30, 2), (12, 13))]
KINDS = {
    "floater": {},
    "rotary": {"position_encoder": "rotary"},
    "at the input": {"position_encoder": "sinusoidal", "position_blocks": "input"},
}


@pytest.fixture
def often():
    """Change between threads often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_get_what_each_gets_alone(kind, often):
    """fairseq's own models can be shared, too. Two threads decode step by step, two do not."""
    model = make_model(**KINDS[kind])
    works = [
        lambda: model(**BATCHES[0])[0],
        lambda: model(**BATCHES[1])[0],
        lambda: torch.stack([row for _, row in steps(model, BATCHES[0], 6)]),
        lambda: torch.stack([row for _, row in steps(model, BATCHES[1], 6)]),
    ]
    with torch.no_grad():
        right = [work() for work in works]
    wrong = []

    def repeat(work, wanted):
        with torch.no_grad():
            for _ in range(15):
                try:
                    if not torch.allclose(work(), wanted, atol=1e-5):
                        wrong.append("another output")
                except Exception as error:
                    wrong.append(repr(error))

    threads = [
        threading.Thread(target=repeat, args=pair, daemon=True) for pair in zip(works, right)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_a_copy_waits_for_nobody():
    model = make_model()
    with model.encoder.feed.alone:
        other = copy.deepcopy(model)
    assert other.encoder.feed is not model.encoder.feed and other.encoder.feed.current is None
    found = []
    with model.encoder.feed.alone, model.decoder.feed.alone:
        run = lambda: found.append(other(**BATCHES[0])[0])  # noqa: E731
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout=60)
    assert torch.equal(found[0], model(**BATCHES[0])[0])
