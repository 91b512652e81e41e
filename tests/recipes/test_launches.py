"""Bounds on an update's launches; the benchmark prints these for every encoder and size."""

import sys

import pytest
import torch
from places import ROOT

sys.path.insert(0, str(ROOT / "recipes/benchmarks"))

import launches  # noqa: E402
import models  # noqa: E402


@pytest.fixture(scope="module")
def counts():
    """Counts of an update of the smallest model, by variant and number of positions."""
    words = models.dictionary(20)

    def counts(variant, positions):
        model = models.build("tiny", launches.VARIANTS[variant], words).train()
        return launches.count(model, len(words), positions)

    return counts


def test_rotations_launch_little_at_any_length_and_wait_for_nothing(counts):
    stock = counts(models.STOCK, 16)
    linear, longer = counts("floater, linear", 16), counts("floater, linear", 200)
    assert linear.launches < 1.35 * stock.launches
    assert longer.launches == linear.launches
    driven = counts("floater, driven", 16)
    assert driven.launches < 1.6 * stock.launches
    assert linear.waits == longer.waits == driven.waits == stock.waits


def test_mlp_launches_more_with_each_position_and_waits_for_nothing(counts):
    few, more = counts("floater, mlp", 16), counts("floater, mlp", 48)
    assert more.launches > 2 * few.launches
    assert few.waits == counts(models.STOCK, 16).waits


def test_counting():
    """Check the counts of a computation whose launches and waits are known."""
    weight = torch.ones(3, requires_grad=True)
    host = torch.arange(3.0)
    with launches.Counting([weight]) as counting:
        assert bool((host * 2).sum() > 0)  # stays on the host
        product = weight * host  # one launch
        view = product[1:].detach()  # none
        assert bool((view > 0).all())  # two launches, and the wait
    assert counting.seen == {"mul": 1, "gt": 1, "all": 1}
    assert counting.waits.total() == 1
    with launches.Counting() as backward:
        product.sum().backward()
    assert backward.seen["mul"] == 1


def test_what_is_made_on_the_device_counts():
    """Also what is copied there, and dropout, which is three operations on the host."""
    weight, host = torch.ones(3), torch.arange(3.0)
    counting = launches.Counting([weight])
    with counting, launches.Placing(counting):
        torch.arange(3).add(1)  # stays on the host
        torch.arange(3, device=weight.device).add(1)  # two launches
        host.to(weight.device).sub(1)  # the copy, and one launch
        host.to(torch.float64).neg()  # stays on the host
        torch.nn.functional.dropout(host, 0.5).neg()  # stays on the host
        torch.nn.functional.dropout(weight, 0.5)  # one launch
        torch.nn.functional.dropout(weight, 0.5, training=False)  # none
        torch.arange(3, device="cpu").add(1)  # stays on the host
    assert counting.seen == dict.fromkeys(["arange", "add", "clone", "sub", "native_dropout"], 1)
