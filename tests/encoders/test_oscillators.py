"""h starts as oscillators, which neither grow, nor die out, nor run together."""

import math

import pytest
import torch
from conftest import make_batch, make_model, make_stock

from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.encoders.floater import FloaterEncoder
from fairseq_floater.encoders.oscillators import SHORTEST_PERIOD, spread_periods
from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.runge_kutta import ACTIVATIONS
from fairseq_floater.ode.solver import solve
from fairseq_floater.options import PositionOptions

SCALE = 0.3


def oscillators(frequencies, dim, hidden_dim=None, **options):
    frequencies = torch.tensor(frequencies, dtype=torch.float64)
    h = MLPDynamics(dim, hidden_dim, init_scale=SCALE, frequencies=frequencies, **options)
    return h.double()


def trajectories(dynamics, initial, count, steps=8, delta=0.1):
    with torch.no_grad():
        return solve(dynamics, initial, torch.arange(count) * delta, steps_per_position=steps)


def test_small_motions_are_sinusoids():
    """p(t) is p(0) turned by frequency x time, pair by pair, up to the third order in s p."""
    frequencies = [10.0, 3.0, 0.5]
    initial = 0.001 * torch.randn(2, 6, dtype=torch.float64)
    table = trajectories(oscillators(frequencies, 6), initial, 40, steps=16)
    angles = torch.arange(40)[:, None] * 0.1 * torch.tensor(frequencies, dtype=torch.float64)
    for track, start in zip(table, initial):
        p = torch.complex(track[:, 0::2], track[:, 1::2])
        expected = torch.complex(start[0::2], start[1::2]) * torch.exp(-1j * angles)
        torch.testing.assert_close(p, expected, atol=1e-7, rtol=0)


def test_large_motions_keep_their_energy_and_their_distance():
    torch.manual_seed(0)
    frequencies = (2 * math.pi / spread_periods(4, SHORTEST_PERIOD, 1000.0) / 0.1).tolist()
    initial = 3 * torch.randn(3, 8, dtype=torch.float64)
    table = trajectories(oscillators(frequencies, 8), initial, 2000)
    energy = torch.log(torch.cosh(SCALE * table)).sum(dim=2)
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), atol=0, rtol=1e-4)
    distances = torch.stack([(table[i] - table[i - 1]).norm(dim=1) for i in range(3)])
    assert distances.min() > 0.2 * distances[:, 0].min()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dim, hidden_dim", [(6, 6), (7, 7), (6, 4), (6, 11)])
def test_at_rest_they_stay_at_rest_and_can_be_moved(activation, dim, hidden_dim):
    torch.manual_seed(0)
    h = oscillators([5.0, 2.0, 1.0], dim, hidden_dim, activation=activation)
    initial = torch.zeros(2, dim, dtype=torch.float64, requires_grad=True)
    table = solve(h, initial, torch.arange(9) * 0.1)
    assert not table.any()
    (table * torch.randn_like(table)).sum().backward()
    assert initial.grad.all() and h.fc2.bias.grad.all()


def test_one_step_a_position_follows_the_fastest():
    """The solver's default against 20 steps per position in float64, over 64 positions."""
    torch.manual_seed(0)
    encoder = build_position_encoder(PositionOptions(dynamics="mlp"), 3, 64)
    with torch.no_grad():
        initial = encoder.initial.normal_(std=0.5)
        exact = trajectories(encoder.dynamics.double(), initial.double(), 65, steps=20)
        encoder.dynamics.float()
        error = (encoder(65) - exact).norm(dim=2) / exact.norm(dim=2)
    assert error.max() < 5e-3


def test_neighbouring_features_have_periods_of_all_lengths():
    """This lets every attention head tell near from far."""
    periods = spread_periods(64, SHORTEST_PERIOD, 1000.0)
    assert len(periods.unique()) == 64
    torch.testing.assert_close(periods.min().item(), SHORTEST_PERIOD)
    assert 850 < periods.max() < 1000
    for head in periods.view(4, 16):
        assert head.min() < 1.3 * SHORTEST_PERIOD and head.max() > 700


def test_a_new_floater_model_is_its_base_model():
    """For any seed, before any training, oscillators at rest give zero biases."""
    stock, ours = make_stock(), make_model(lively=False)
    batch = make_batch()
    torch.testing.assert_close(ours(**batch)[0], stock(**batch)[0], atol=1e-6, rtol=0)
    ours(**batch)[0].square().mean().backward()
    for stack in (ours.encoder, ours.decoder):
        used = stack.position_encoder.initial.grad.abs().sum(dim=1) > 0
        assert used.sum() >= 2 * len(used) / 3  # constant biases of keys do not change attention


def test_random_dynamics_are_still_there():
    random = {"dynamics_init": "random", "dynamics_init_scale": 0.0}
    options = PositionOptions(dynamics="mlp", **random).validate()
    encoder = build_position_encoder(options, 2, 6, seed=1)
    with torch.no_grad():
        encoder.initial.normal_()
        assert torch.equal(encoder(5), encoder.initial.unsqueeze(1).expand(-1, 5, -1))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dynamics_init_scale": 0.0}, "--dynamics-init-scale must be > 0 with --dynamics-init"),
        ({"dynamics_longest_period": 6.0}, "--dynamics-longest-period must be > 4 pi, got 6.0"),
        ({"dynamics_init": "chaos"}, "--dynamics-init is 'chaos': choose from oscillators, random"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(UserError, match=message):
        PositionOptions(**options).validate()
    with pytest.raises(UserError, match="init_scale > 0"):
        MLPDynamics(4, init_scale=0.0, frequencies=torch.ones(2))


def test_dynamics_of_ones_own_may_have_no_state_without_effect():
    """h(t, 0) is not 0, and the package does not know which of its weights make it so."""

    class Drift(torch.nn.Module):
        def forward(self, t, p):
            return p + 1

    assert FloaterEncoder(2, 4, Drift()).state_without_effect() is None
