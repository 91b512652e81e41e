"""Value, gradient and report are those of fairseq's label_smoothed_cross_entropy."""

import math
import re

import pytest
import torch
from conftest import make_batch, make_model, make_task
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    label_smoothed_nll_loss,
)
from launching import succeed, together
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fairseq_floater.criterions import FloaterCrossEntropy, smoothed
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

PAD = 1


@pytest.fixture(params=[1, 3, 100], ids="{} rows at once".format)
def at_once(request, monkeypatch):
    monkeypatch.setattr(smoothed, "AT_ONCE_ON_CPU", 30 * request.param)


def example(dtype, scale=3.0):
    torch.manual_seed(0)
    logits = (scale * torch.randn(17, 30, dtype=torch.float64)).to(dtype).requires_grad_()
    target = torch.randint(2, 30, (17,))
    target[::5] = PAD
    return logits, target


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.bfloat16, 5e-3), (torch.float16, 1e-3)],
    ids=str,
)
def test_loss_and_gradient(at_once, dtype, tolerance, smoothing):
    """Against fairseq's own in float64; losses and gradients are scaled as by a loss scaler."""
    logits, target = example(dtype)
    loss, nll = smoothed.smoothed_cross_entropy(logits, target, smoothing, PAD)
    (128 * loss).backward()
    exact = logits.detach().double().requires_grad_()
    wanted, wanted_nll = label_smoothed_nll_loss(
        exact.log_softmax(-1), target, smoothing, ignore_index=PAD
    )
    (128 * wanted).backward()
    close = {"rtol": 1e-6, "atol": 0.0, "check_dtype": False}
    torch.testing.assert_close(loss.detach(), wanted.detach(), **close)
    torch.testing.assert_close(nll, wanted_nll.detach(), **close)
    assert not nll.requires_grad and logits.grad.dtype == dtype
    assert (logits.grad.double() - exact.grad).abs().max() <= 128 * tolerance
    assert not logits.grad[target == PAD].any()


def test_extreme_logits():
    """For these, a softmax in float16 itself would overflow."""
    logits = torch.tensor([[6e4, -6e4, 0.0], [6e4, 6e4, 6e4]], dtype=torch.float16)
    logits.requires_grad_()
    loss, _ = smoothed.smoothed_cross_entropy(logits, torch.tensor([0, 2]), 0.0, PAD)
    assert loss.item() == pytest.approx(math.log(3), abs=0.01)  # float32 is no more exact there
    loss.backward()
    assert logits.grad.isfinite().all()


def test_one_tensor_of_the_size_of_the_logits_is_made():
    """It is their gradient: all other tensors that are made hold a few rows at most."""

    class Largest(TorchDispatchMode):
        made = ()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if not function.is_view and function.overloadpacket.__name__[-1] != "_":
                sizes = [leaf.numel() for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
                self.made += tuple(size for size in sizes if size >= logits.numel())
            return result

    logits = torch.randn(400, 3000, requires_grad=True)
    with Largest() as largest:
        loss, _ = smoothed.smoothed_cross_entropy(logits, torch.randint(3000, (400,)), 0.1, PAD)
        loss.backward()
    assert largest.made == (logits.numel(),)


def criterions(**options):
    task = make_task()
    task.target_dictionary.pad = lambda: PAD
    return [
        kind(task, sentence_avg=False, label_smoothing=0.1, **options)
        for kind in (LabelSmoothedCrossEntropyCriterion, FloaterCrossEntropy)
    ]


def sample():
    batch = make_batch(lengths=(5, 3), target_lengths=(6, 4))
    target = batch["prev_output_tokens"].roll(-1, dims=1)
    return {"net_input": batch, "target": target, "ntokens": int(target.ne(PAD).sum())}


@pytest.mark.parametrize(
    "options, model",
    [
        ({}, {}),
        ({"report_accuracy": True}, {}),
        ({"ignore_prefix_size": 2, "report_accuracy": True}, {}),
        ({}, {"adaptive_softmax_cutoff": "5,10", "share_decoder_input_output_embed": False}),
    ],
    ids=["plain", "accuracy", "prefix", "adaptive softmax"],
)
@pytest.mark.parametrize("reduce", [True, False])
def test_criterion(options, model, reduce):
    """Losses, reports and gradients of a whole model, also where fairseq's own code is used."""
    found = []
    for criterion in criterions(**options):
        trained = make_model(initial_scale=1.0, **model)  # a larger one scales rounding errors
        loss, size, report = criterion(trained, sample(), reduce=reduce)
        if not model:  # fairseq's own has no gradient with an adaptive softmax
            loss.sum().backward()
        gradients = [p.grad for p in trained.parameters() if p.grad is not None]
        found.append(((loss.sum(), size, report["nll_loss"].sum()), report, gradients))
    (stock, stock_report, stock_gradients), (ours, report, gradients) = found
    torch.testing.assert_close(ours, stock, rtol=1e-5, atol=0)
    assert report.keys() == stock_report.keys()
    assert report.get("n_correct") == stock_report.get("n_correct")
    torch.testing.assert_close(gradients, stock_gradients, rtol=1e-4, atol=1e-6)


def test_second_derivatives_are_refused():
    logits = torch.randn(3, 5, requires_grad=True)
    loss, _ = smoothed.smoothed_cross_entropy(logits, torch.tensor([1, 2, 3]), 0.1, padding=0)
    with pytest.raises(UserError, match="no second derivatives: use fairseq's label_smoothed_c"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_trainings_are_alike(corpus, tmp_path):
    """fairseq-train and its validation print the same losses with either, for any model."""
    commands = {
        name: [
            *("train", corpus, "--user-dir", "fairseq_floater", "--arch", "transformer_tiny"),
            *("--criterion", name, "--label-smoothing", "0.1", "--optimizer", "adam"),
            *("--lr", "0.01", "--max-tokens", "200", "--max-update", "6", "--log-interval", "1"),
            *("--save-dir", tmp_path / name, "--no-save", "--dropout", "0", "--cpu"),
        ]
        for name in ("label_smoothed_cross_entropy", "floater_cross_entropy")
    }
    stock, ours = together(succeed, commands).values()
    assert len(stock.losses()) >= 4
    assert ours.losses() == pytest.approx(stock.losses(), abs=2e-3)
    assert ours.losses("valid") == pytest.approx(stock.losses("valid"), abs=2e-3)
    assert re.search(r"nll_loss[= ]\d", ours.out)
