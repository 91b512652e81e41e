"""Linear and driven dynamics: against an independent solver, and bounded for any weights."""

import math

import pytest
import torch
import torchdiffeq

from fairseq_floater.encoders import EncoderOptions, FloaterEncoder, build_dynamics
from fairseq_floater.errors import UserError

KINDS = ("linear", "driven")
DELTA = 0.1


def make(kind, dim=6, tracks=3, spread=0.5, **options):
    """Return an encoder in float64, none of whose parameters is left at zero."""
    torch.manual_seed(1)
    dynamics = build_dynamics(EncoderOptions(dynamics=kind, **options), dim)
    encoder = FloaterEncoder(tracks, dim, dynamics, delta=DELTA, initial_std=1.0).double()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name != "dynamics.rates":
                parameter.add_(spread * torch.randn_like(parameter))
    return encoder


def solved(encoder, positions):
    """Solve the equations in the docstrings by torchdiffeq, matrix by matrix."""
    h, dim = encoder.dynamics, encoder.dim
    identity, skew = torch.eye(dim).double(), (h.skew - h.skew.t()).detach()
    basis = torch.linalg.inv(identity + skew) @ (identity - skew)

    def matrix(speeds):
        blocks = torch.zeros(*speeds.shape[:-1], dim, dim).double()
        for pair in range(dim // 2):
            blocks[..., 2 * pair + 1, 2 * pair] = speeds[..., pair]
            blocks[..., 2 * pair, 2 * pair + 1] = -speeds[..., pair]
        return basis @ blocks @ basis.t()

    def slopes(_, state):
        free, driven = state.chunk(2)
        speeds = h.rates.expand(len(free), -1)
        if hasattr(h, "drive"):
            inner = torch.tanh(free @ basis @ h.hidden.weight.t() + h.hidden.bias)
            speeds = h.rates * (1 + torch.tanh(inner @ h.drive.weight.t()))
        return torch.cat(
            [
                (matrix(h.rates) @ free.unsqueeze(-1)).squeeze(-1),
                (matrix(speeds) @ driven.unsqueeze(-1)).squeeze(-1),
            ]
        )

    start, times = encoder.initial.detach(), positions * encoder.delta
    with torch.no_grad():
        states = torchdiffeq.odeint(slopes, torch.cat([start, start]), times, rtol=1e-6, atol=1e-8)
    return states[:, len(start) :].transpose(0, 1)


@pytest.mark.parametrize("dim", [2, 6, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_an_independent_solver(kind, dim):
    encoder, between = make(kind, dim), torch.tensor([0.0, 0.5, 21.25, 39.0]).double()
    positions = torch.cat([torch.arange(60), between]).unique()  # rising
    states, whole = solved(encoder, positions), positions == positions.round()
    error = (encoder(60) - states[:, whole]).norm() / encoder(60).norm()
    assert error < {"linear": 1e-5, "driven": 1e-3}[kind]
    within = {"linear": 1e-5, "driven": 0.02}[
        kind
    ]  # from a formula, and from the cubic between two positions
    states = states[:, torch.searchsorted(positions, between)]
    torch.testing.assert_close(encoder(between), states, rtol=0, atol=within)


def test_quadrature_is_of_eighth_order():
    errors, finest = [], None
    for finer in (16, 1, 2, 4):
        encoder = make("driven", 6)
        encoder.delta = DELTA / finer
        states = encoder(20 * finer + 1)[:, ::finer]
        finest = states if finest is None else finest
        errors.append(((states - finest).norm() / finest.norm()).item())
    orders = [math.log2(coarse / fine) for coarse, fine in zip(errors[1:], errors[2:])]
    assert orders[0] > 5.0 and orders[1] > 7.0, errors


@pytest.mark.parametrize("kind", KINDS)
def test_norms_stay_for_ever_whatever_the_weights(kind):
    """At 65,536 positions in float32, for weights a hundred times those at the start."""
    encoder = make(kind, 8, tracks=2, spread=100.0).float()
    with torch.no_grad():
        encoder.dynamics.rates.mul_(30.0)
        states = encoder(65_536)
        norms = states.norm(dim=-1)
        wanted = encoder.initial.norm(dim=-1, keepdim=True).expand_as(norms)
        torch.testing.assert_close(norms, wanted, rtol=1e-3, atol=0)
        # The norms of each pair stay as well, in the coordinates in which the pairs turn.
        pairs = (states @ encoder.dynamics.basis(states)).unflatten(-1, (4, 2)).norm(dim=-1)
        wanted = pairs[:, :1].expand_as(pairs)
        assert float((pairs - wanted).abs().max() / norms.max()) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    encoder = make(kind, 5, tracks=2)
    names, parameters = zip(*encoder.named_parameters())

    def table(*values):
        return torch.func.functional_call(encoder, dict(zip(names, values)), (4,))

    assert torch.autograd.gradcheck(table, [p.detach().requires_grad_() for p in parameters])


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_grows_equals_one_made_at_once(kind):
    encoder, positions = make(kind), torch.arange(300).double()
    with torch.no_grad():
        encoder(1)
        grown = encoder(300)
        torch.testing.assert_close(grown, encoder.trajectories(positions), rtol=0, atol=1e-11)
    torch.testing.assert_close(encoder(300), grown, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind, tolerance", [("linear", 1e-5), ("driven", 0.3)])
def test_starts_as_sinusoids(kind, tolerance):
    options = EncoderOptions(dynamics=kind)
    encoder = FloaterEncoder(1, 4, build_dynamics(options, 4), delta=DELTA, initial_std=1.0)
    states, (x, y, _, _) = encoder(100)[0], encoder.initial[0]
    fastest = torch.arange(100) / 2  # its period is 4 pi
    wanted = torch.stack([x, y])[:, None] * torch.cos(fastest)
    wanted += torch.stack([-y, x])[:, None] * torch.sin(fastest)
    torch.testing.assert_close(states[:20, :2].t(), wanted[:, :20], rtol=0, atol=tolerance)


def test_zero_stays_zero_and_yet_learns():
    for kind in KINDS:
        encoder = FloaterEncoder(2, 6, build_dynamics(EncoderOptions(dynamics=kind), 6))
        states = encoder(9)
        assert not states.any()
        (states * torch.randn_like(states)).sum().backward()
        assert encoder.initial.grad.abs().min() > 0


def test_only_an_equation_that_a_solver_follows_shows_one():
    """A baked table is used only if what an encoder shows is the same as when it was made."""
    shown = {kind: repr(make(kind)) for kind in ("linear", "driven")}
    assert not any("solver=" in text for text in shown.values())
    assert "solver=rk4" in repr(make("mlp"))


def test_sizes():
    count = {
        kind: sum(
            p.numel() for p in build_dynamics(EncoderOptions(dynamics=kind), 512).parameters()
        )
        for kind in ("mlp", *KINDS)
    }
    assert count == {"mlp": 526_336, "linear": 262_400, "driven": 656_128}
    narrow = build_dynamics(EncoderOptions(dynamics="driven", dynamics_hidden_dim=3), 8)
    assert narrow.hidden.weight.shape == (3, 8)
    with pytest.raises(UserError, match="turn pairs of features: their width must be >= 2, got 1"):
        build_dynamics(EncoderOptions(dynamics="linear"), 1)


def test_far_angles_are_as_exact_as_near_ones():
    """For float32 parameters as well, since whole turns are removed in float64."""
    encoder = make("linear")
    with torch.no_grad():
        exact = encoder(50_000)[:, -50:]
        found = encoder.float()(50_000)[:, -50:]
    assert (found - exact).norm() < 1e-5 * exact.norm()
