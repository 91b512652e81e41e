"""Biases of positions, added within the products of attention's projections."""

import pytest
import torch
from fairseq.modules.quant_noise import quant_noise
from torch import nn

from fairseq_floater.blocks.biases import Track, biased

LENGTH, BATCH, DIM = 5, 3, 8


def tracks(rows, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(9, DIM, generator=generator, dtype=dtype, requires_grad=True)
    return Track(vectors, rows)


def own_rows(length=LENGTH, batch=BATCH):
    return torch.randint(0, 9, (length, batch), generator=torch.Generator().manual_seed(2))


def shared_rows(length=LENGTH):
    return torch.arange(length)[:, None] + 2


def linear(dtype=torch.float64, **options):
    torch.manual_seed(3)
    return nn.Linear(DIM, DIM, dtype=dtype, **options)


def inputs(length=LENGTH, batch=BATCH, dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(length, batch, DIM, generator=generator, dtype=dtype, requires_grad=True)


def added(projection, x, bias):
    """Return the expected result, computed by indexing."""
    whole = [track.vectors[track.rows.expand(-1, x.size(1))] for track in bias]
    return projection(x) + torch.cat(whole)


STRETCHES = {
    "positions of each sentence": [own_rows()],
    "positions of all": [shared_rows()],
    "one position": [shared_rows(1)],
    "one sentence": [shared_rows()],
    "source and target": [own_rows(2), shared_rows(3)],
}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("case", STRETCHES)
def test_equals_an_addition_in_value_and_gradients(case, frozen):
    bias = [tracks(rows) for rows in STRETCHES[case]]
    projection = linear().requires_grad_(not frozen)
    x = inputs(sum(track.rows.size(0) for track in bias), 1 if case == "one sentence" else BATCH)
    learned = [x, *(track.vectors for track in bias)]
    learned += [] if frozen else list(projection.parameters())

    found, meant = biased(projection, x, bias), added(projection, x, bias)
    torch.testing.assert_close(found, meant, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(meant)
    for a, b in zip(
        torch.autograd.grad(found, learned, direction),
        torch.autograd.grad(meant, learned, direction),
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(biased(projection, x, bias), found)


def test_zero_biases_do_not_change_a_bit():
    for rows in (own_rows(), shared_rows()):
        projection, x = linear(torch.float32), inputs(dtype=torch.float32)
        bias = [Track(torch.zeros(9, DIM), rows)]
        assert torch.equal(biased(projection, x, bias), projection(x))


def test_large_biases_stay_finite_in_float16():
    projection, x = linear(torch.float16), inputs(dtype=torch.float16)
    bias = [Track(torch.full((9, DIM), 1e6), shared_rows())]
    found = biased(projection, x, bias)
    assert found.dtype == torch.float16 and bool(found.isfinite().all())


class Adapted(nn.Linear):
    """A projection that is changed as an adapter changes one."""

    def forward(self, x):
        return super().forward(x) * 2


def hooked(projection, calls):
    projection.register_forward_hook(lambda *_: calls.append("hook"))
    return projection


def test_a_projection_that_is_changed_or_watched_is_called():
    bias, x = [tracks(shared_rows())], inputs()
    adapted = Adapted(DIM, DIM, dtype=torch.float64)
    assert torch.equal(biased(adapted, x, bias), added(adapted, x, bias))
    calls = []
    biased(hooked(linear(), calls), x, bias)
    assert calls == ["hook"]
    without = linear(bias=False)
    assert torch.equal(biased(without, x, bias), added(without, x, bias))


def test_noise_of_quantisation_reaches_the_weights():
    noisy, x, bias = quant_noise(linear(), 0.5, 4).train(), inputs(), [tracks(shared_rows())]
    found = biased(noisy, x, bias)
    left = noisy.weight.detach()  # the noise stays in the weights until the next call
    assert not torch.equal(left, linear().weight) and bool((left == 0).any())
    calm = linear()
    calm.weight.data = left.clone()
    torch.testing.assert_close(found, added(calm, x, bias), rtol=1e-12, atol=1e-12)


def test_autocast_chooses_the_dtype():
    projection, x = linear(torch.float32), inputs(dtype=torch.float32)
    bias = [tracks(own_rows(), torch.float32)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, meant = biased(projection, x, bias), projection(x)
    assert found.dtype == meant.dtype == torch.bfloat16
    exact = added(projection, x, bias)
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.05)


def test_shapes_are_told_without_a_device():
    projection, x = linear(torch.float32).to("meta"), inputs(dtype=torch.float32).to("meta")
    bias = [Track(torch.zeros(9, DIM, device="meta"), shared_rows().to("meta"))]
    assert biased(projection, x, bias).shape == x.shape
