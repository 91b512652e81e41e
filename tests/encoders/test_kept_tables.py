"""Tables that are kept while no gradients are taken: whatever they depend on may change."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp, vmap
from torch.nn.utils import parametrize, prune

from fairseq_floater.encoders import (
    EncoderOptions,
    FloaterEncoder,
    LearnedEncoder,
    SinusoidalEncoder,
    build_dynamics,
    build_position_encoder,
)

KINDS = ("linear", "driven", "mlp")


def made(dynamics="linear"):
    """Return an encoder with one track of width 8, in training, as torch makes modules."""
    torch.manual_seed(0)
    options = EncoderOptions(dynamics=dynamics)
    return FloaterEncoder(1, 8, build_dynamics(options, 8), initial_std=1.0)


def difference(encoder):
    """Return by how much the table that is kept differs from what is computed for gradients."""
    with torch.no_grad():
        kept = encoder(4)
    return (kept - encoder(4)).abs().max().item()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_encoder_notices_what_changes_it(kind):
    """Such as a moving average of another, or a teacher; no trainer counts its updates."""
    teacher = made(kind).requires_grad_(False)
    before = teacher(4)
    with torch.no_grad():
        for value in teacher.parameters():
            value.mul_(0.5)
    assert not torch.equal(teacher(4), before)
    found = [
        functional_call(teacher, {n: p * by for n, p in teacher.named_parameters()}, (4,))
        for by in (1, 2)
    ]
    assert torch.equal(found[0], teacher(4)) and not torch.equal(*found)


def test_in_training_that_is_counted_a_frozen_encoder_is_not_compared():
    """Comparing waits for the device, and a trainer changes nothing that is frozen."""
    encoder = made().requires_grad_(False)
    encoder.set_num_updates(1)
    encoder(4)
    assert encoder.trusted and not encoder.eval().trusted


@pytest.mark.parametrize(
    "encoder",
    [made(), SinusoidalEncoder(1, 8), LearnedEncoder(1, 8, 20, initial_std=1.0)],
    ids=["floater", "sinusoidal", "learned"],
)
def test_what_is_returned_is_the_callers(encoder):
    with torch.no_grad():
        first = encoder(4)
        encoder(4).mul_(2)
        encoder(torch.arange(4.0)).mul_(2)
        assert torch.equal(encoder(4), first)


def test_pruning_parametrizations_and_settings_are_noticed():
    pruned, doubled, longer = made().eval(), made().eval(), made().eval()
    nn.init.normal_(doubled.dynamics.skew)
    for encoder in (pruned, doubled, longer):
        assert difference(encoder) < 1e-6
    for share in (0.25, 0.5):
        prune.l1_unstructured(pruned, "initial", amount=share)
        assert difference(pruned) < 1e-6 and (pruned(1) == 0).float().mean() >= share
    parametrize.register_parametrization(doubled.dynamics, "skew", nn.Softplus(), unsafe=True)
    longer.delta = 0.3
    damped = made("mlp").eval()
    assert difference(damped) < 1e-6
    damped.dynamics.damping = 0.5  # a setting of a part
    for encoder in (doubled, longer, damped):
        assert difference(encoder) < 1e-6


def replica(module):
    """Return what ``nn.DataParallel`` makes for another device: its tensors are no parameters."""
    copies = {part: part._replicate_for_data_parallel() for part in module.modules()}
    for part, copied in copies.items():
        for name, child in part._modules.items():
            setattr(copied, name, copies[child])
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            setattr(copied, name, value.clone())
    return copies[module]


@pytest.mark.parametrize("kind", KINDS)
def test_replicas_pass_gradients_on_and_notice_updates(kind):
    encoder = made(kind)
    found = replica(encoder)(4)
    found.pow(2).sum().backward()
    assert encoder.initial.grad.abs().sum() > 0
    with torch.no_grad():
        encoder.initial.mul_(0.5)
        assert not torch.equal(replica(encoder)(4), found)


def with_weights(encoder, values):
    return functional_call(encoder, values, (8,))


def weights_of(encoder):
    return {name: p.detach() for name, p in encoder.named_parameters()}


def test_a_program_that_is_exported_leaves_nothing_behind():
    encoder = made().eval()
    with torch.no_grad():
        exported = torch.export.export(encoder, (8,)).module()(8)
        assert torch.allclose(exported, encoder(8))


def test_a_transform_leaves_nothing_behind():
    encoder = made().eval()
    many = {name: torch.stack([p, 2 * p]) for name, p in weights_of(encoder).items()}
    with torch.no_grad():
        for _ in range(2):
            both = vmap(lambda values: with_weights(encoder, values))(many)
            assert torch.allclose(both[0], encoder(8), atol=1e-6)


@pytest.mark.parametrize("kind", ["floater", "sinusoidal"])
def test_a_transform_of_something_else_leaves_nothing_behind(kind):
    encoder = (made() if kind == "floater" else SinusoidalEncoder(1, 8)).requires_grad_(False)
    found = torch.func.grad(lambda x: (encoder(4) * x).sum())(torch.ones(8))
    assert torch.allclose(found, encoder(4).sum(dim=(0, 1)))
    assert torch.equal(copy.deepcopy(encoder)(4), encoder(4))


def test_derivatives_along_the_weights_need_no_table_that_was_kept():
    encoder = made().eval()
    encoder(8).pow(3).sum().backward()
    wanted = sum((p.grad * p).sum() for p in encoder.parameters())
    for _ in range(2):  # the second time, there is such a table
        values = weights_of(encoder)
        _, found = jvp(lambda v: with_weights(encoder, v).pow(3).sum(), (values,), (values,))
        assert torch.allclose(found, wanted, rtol=1e-4)
        with torch.no_grad():
            encoder(8)


def test_copies_keep_tables_of_their_own():
    encoder = made().eval()
    with torch.no_grad():
        encoder(4)
        other = copy.deepcopy(encoder)
        kept = other(4, shared=True)
        assert kept.data_ptr() != encoder(4, shared=True).data_ptr()
        assert torch.equal(kept, encoder(4))


@pytest.mark.parametrize("form", ["rotation", "scores", "bias"])
@torch.no_grad()
def test_the_last_row_is_that_of_the_whole_table(form):
    """A decoding step asks for it alone."""
    options = EncoderOptions(position_injection=form, dynamics="mlp")
    encoder = build_position_encoder(options, 3, 16, heads=2, causal=True, seed=1)
    for parameter in encoder.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    for length in (1, 9, 70):
        torch.testing.assert_close(encoder.last(length), encoder(length)[:, -1:])


def test_a_checkpoint_loaded_for_use_takes_gradients():
    """Fairseq reports the number of its updates before it loads the weights."""
    options = EncoderOptions(dynamics="mlp")
    encoder = build_position_encoder(options, 3, 16, heads=2, seed=1)
    encoder.update_interval = 4
    encoder.set_num_updates(2)
    assert not encoder(5).requires_grad
    encoder.load_state_dict(encoder.state_dict())
    assert encoder(5).requires_grad
    encoder.set_num_updates(2)  # as a trainer does that continues
    assert not encoder(5).requires_grad
