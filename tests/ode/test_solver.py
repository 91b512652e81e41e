"""The solve: against torchdiffeq, against float64 at tight tolerance, and by gradcheck."""

import math
from fractions import Fraction

import pytest
import torch
import torchdiffeq

from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.fixed_step import LinearRecurrence
from fairseq_floater.ode.grid import StepGrid, parse_steps_per_position
from fairseq_floater.ode.runge_kutta import ACTIVATIONS, TABLEAUS, HiddenTrajectory
from fairseq_floater.ode.solver import solve

REGULAR = torch.arange(11, dtype=torch.float64) * 0.1
IRREGULAR = torch.tensor([0.3, 0.35, 0.5, 0.8, 0.81, 1.1, 1.3], dtype=torch.float64)


def problem(dim=5, hidden=7, tracks=3, dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    dynamics = MLPDynamics(dim, hidden, **options).to(dtype)
    with torch.no_grad():
        for bias in (dynamics.fc1.bias, dynamics.fc2.bias):
            bias.normal_(std=0.3)
    return dynamics, torch.randn(tracks, dim, dtype=dtype, requires_grad=True)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def gradients(states, parameters, seed=1):
    torch.manual_seed(seed)
    return torch.autograd.grad((states * torch.randn_like(states)).sum(), parameters)


def exact(dynamics, initial, times):
    """Solve by dopri5 at 1e-10 in float64."""
    states = torchdiffeq.odeint(dynamics, initial, times, rtol=1e-10, atol=1e-10, method="dopri5")
    return states.transpose(0, 1)


@pytest.mark.parametrize("times", [REGULAR, IRREGULAR], ids=["regular", "irregular"])
@pytest.mark.parametrize("damping", [0.0, 0.7])
@pytest.mark.parametrize("steps", [1, 5, "1/2", 0.25])
@pytest.mark.parametrize("solver", sorted(TABLEAUS))
def test_native_equals_torchdiffeq(solver, steps, damping, times):
    """The same scheme on the same grid gives the same numbers and the same gradients."""
    dynamics, initial = problem(damping=damping)
    options = {"solver": solver, "steps_per_position": steps}
    ours = solve(dynamics, initial, times, backend="native", **options)
    reference = solve(dynamics, initial, times, backend="torchdiffeq", **options)
    assert ours.shape == (3, len(times), 5) and ours.dtype == torch.float64
    assert torch.equal(ours[:, 0], initial)
    assert relative(ours, reference) < 1e-13
    parameters = [initial, *dynamics.parameters()]
    for a, b in zip(gradients(ours, parameters), gradients(reference, parameters)):
        assert relative(a, b) < 1e-12


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("solver", sorted(TABLEAUS))
def test_hidden_trajectory_gradcheck(solver, activation):
    torch.manual_seed(0)
    tableau, steps, hidden = TABLEAUS[solver], [0.1, 0.2, 0.15], 4
    inputs = (
        torch.randn(2, hidden, dtype=torch.float64, requires_grad=True),
        torch.randn(hidden, hidden, dtype=torch.float64, requires_grad=True),
        torch.randn(3, tableau.stages, hidden, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(
        lambda *x: HiddenTrajectory.apply(*x, steps, 0.3, tableau, ACTIVATIONS[activation]), inputs
    )


@pytest.mark.parametrize("steps", [2, 1, "1/3"])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_solve_gradcheck(activation, steps):
    """Gradients are checked through the whole solve, to p(0) and to every weight of h."""
    dynamics, initial = problem(3, 4, 2, activation=activation, damping=0.2)
    names = [name for name, _ in dynamics.named_parameters()]
    times = REGULAR[:6]

    def states(initial, *weights):
        for name, weight in zip(names, weights):
            layer, kind = name.split(".")
            setattr(getattr(dynamics, layer), kind, torch.nn.Parameter(weight))
            getattr(dynamics, layer)._parameters[kind] = weight
        return solve(dynamics, initial, times, steps_per_position=steps)

    weights = [p.detach().clone().requires_grad_() for p in dynamics.parameters()]
    assert torch.autograd.gradcheck(states, (initial, *weights))


@pytest.mark.parametrize("solver", sorted(TABLEAUS))
def test_order_of_convergence(solver):
    """Halving the step divides the error by 2 to the order of the method."""
    dynamics, initial = problem()
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    reference = exact(dynamics, initial, times)
    errors = [
        relative(solve(dynamics, initial, times, solver=solver, steps_per_position=k), reference)
        for k in (8, 16)
    ]
    order = math.log2(errors[0] / errors[1])
    assert abs(order - TABLEAUS[solver].order) < 0.3


@pytest.fixture(scope="module")
def base_size():
    """The paper's base encoder over 256 positions: problem, times, and a fine float64 solution."""
    dynamics, initial = problem(512, 512, 18, torch.float32)
    double, _ = problem(512, 512, 18, torch.float64)
    double.load_state_dict(dynamics.state_dict())
    times = torch.arange(256, dtype=torch.float64) * 0.1
    with torch.no_grad():
        fine = solve(double, initial.detach().double(), times, steps_per_position=4)
    return dynamics, initial, times, fine


@pytest.mark.parametrize("steps, bound", [(1, 2e-5), ("1/2", 2e-5), ("1/4", 2e-4)])
def test_float32_against_float64_reference(steps, bound, base_size):
    dynamics, initial, times, fine = base_size
    with torch.no_grad():
        ours = solve(dynamics, initial, times, steps_per_position=steps)
    assert ours.dtype == torch.float32
    assert relative(ours.double(), fine) < bound


def test_closed_form_decay():
    """h = 0: p(t) = p(0) exp(-damping t)."""
    dynamics, initial = problem(damping=0.5, init_scale=0.0)
    with torch.no_grad():
        for p in dynamics.parameters():
            p.zero_()
    states = solve(dynamics, initial, REGULAR)
    expected = initial[:, None] * torch.exp(-0.5 * REGULAR)[None, :, None]
    assert relative(states, expected) < 1e-7


def test_more_positions_do_not_change_the_first_ones():
    dynamics, initial = problem(dtype=torch.float32)
    times = torch.arange(40) * 0.1
    for steps in (1, "1/4", "1/8"):
        whole = solve(dynamics, initial, times, steps_per_position=steps)
        for count in (1, 2, 5, 9, 38):
            part = solve(dynamics, initial, times[:count], steps_per_position=steps)
            torch.testing.assert_close(part, whole[:, :count], atol=1e-6, rtol=1e-6)


def test_tracks_do_not_mix():
    dynamics, initial = problem(tracks=4)
    together = solve(dynamics, initial, REGULAR)
    for track in range(4):
        alone = solve(dynamics, initial[track : track + 1], REGULAR)
        assert relative(alone[0], together[track]) < 1e-14


@pytest.mark.parametrize("solver", ["dopri5", "dopri8", "bosh3", "heun3"])
def test_other_solvers_go_through_torchdiffeq(solver):
    dynamics, initial = problem()
    states = solve(dynamics, initial, REGULAR, solver=solver)
    assert relative(states, exact(dynamics, initial, REGULAR)) < 1e-3


def test_adjoint_gradient_agrees():
    dynamics, initial = problem()
    parameters = [initial, *dynamics.parameters()]
    ours = gradients(solve(dynamics, initial, REGULAR), parameters)
    adjoint = gradients(
        solve(dynamics, initial, REGULAR, backend="torchdiffeq", adjoint=True), parameters
    )
    for a, b in zip(ours, adjoint):
        assert relative(a, b) < 1e-4


def test_any_module_can_be_the_dynamics():
    class Rotation(torch.nn.Module):
        def forward(self, t, p):
            return torch.stack([-p[:, 1], p[:, 0]], dim=1)

    initial = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    states = solve(Rotation(), initial, REGULAR, steps_per_position=2)
    expected = torch.stack([REGULAR.cos(), REGULAR.sin()], dim=1)
    assert relative(states[0], expected) < 1e-7
    with pytest.raises(UserError, match="solves MLPDynamics only, got Rotation"):
        solve(Rotation(), initial, REGULAR, backend="native")


def test_half_precision_is_solved_in_float32():
    dynamics, initial = problem(dtype=torch.float32)
    expected = solve(dynamics.half().float(), initial.half().float(), REGULAR)
    dynamics, initial = dynamics.half(), initial.half().detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = solve(dynamics, initial, REGULAR)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, expected)
    states.sum().backward()
    assert dynamics.fc1.weight.grad.dtype == torch.float16


def test_grid_nodes():
    grid = StepGrid.build(REGULAR[:6], "1/4")
    assert grid.stride == 4 and torch.allclose(grid.nodes, torch.tensor([0.0, 0.4, 0.8]).double())
    grid = StepGrid.build(IRREGULAR[:3], 2)
    expected = torch.tensor([0.3, 0.325, 0.35, 0.425, 0.5]).double()
    assert torch.allclose(grid.nodes, expected)


@pytest.mark.parametrize(
    "value",
    [0, -1, "2/3", 1.5, "fast", float("inf"), float("nan"), "1/0", "1e3000000"],
)
def test_bad_steps(value):
    with pytest.raises(UserError, match="whole number or 1 over a whole number"):
        parse_steps_per_position(value)


def test_one_step_over_too_many_positions():
    with pytest.raises(UserError, match="must be at least 1/4096, got '1/5000': use a larger"):
        parse_steps_per_position("1/5000")


@pytest.mark.parametrize("value", [1 / 3, "1/3", str(1 / 3), "0.3333", Fraction(1, 3)])
def test_a_third_of_a_step(value):
    assert parse_steps_per_position(value) == Fraction(1, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"times": torch.tensor([0.0, 0.0])}, "strictly increasing"),
        ({"times": torch.tensor([0.0, float("nan")])}, "finite"),
        ({"times": torch.zeros(0)}, "not empty"),
        ({"initial": torch.zeros(5)}, r"\(tracks, dim\)"),
        ({"initial": torch.zeros(2, 4)}, "initial has dim 4, but the dynamics have dim 5"),
        ({"backend": "jax"}, "unknown ode backend 'jax'"),
        ({"backend": "native", "solver": "dopri5"}, "no solver 'dopri5'"),
        ({"solver": "magic"}, "unknown torchdiffeq solver 'magic'"),
        ({"backend": "native", "adjoint": True}, "adjoint is torchdiffeq's"),
    ],
)
def test_bad_calls(change, message):
    dynamics, initial = problem(dtype=torch.float32)
    arguments = {"initial": initial, "times": REGULAR, **change}
    with pytest.raises(UserError, match=message):
        solve(dynamics, **arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 0}, "dim and hidden_dim >= 1"),
        ({"dim": 4, "activation": "step"}, "unknown dynamics activation 'step'"),
        ({"dim": 4, "damping": -0.1}, "damping must be >= 0"),
    ],
)
def test_bad_dynamics(options, message):
    with pytest.raises(UserError, match=message):
        MLPDynamics(**options)


def test_second_derivatives_of_torchdiffeq():
    dynamics, initial = problem()
    weight = dynamics.fc1.weight

    def solved(weight, initial):
        with torch.nn.utils.stateless._reparametrize_module(dynamics, {"fc1.weight": weight}):
            return solve(dynamics, initial, REGULAR[:4], backend="torchdiffeq")

    assert torch.autograd.gradgradcheck(solved, (weight, initial), atol=1e-4)


def test_second_derivatives_of_a_recurrence():
    values = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    more = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    decay = [0.5, 1.0, 0.9, 0.7]
    assert torch.autograd.gradgradcheck(
        lambda p, v: LinearRecurrence.apply(p, v, decay).pow(2), (values, more)
    )


def test_the_native_solver_refuses_second_derivatives():
    dynamics, initial = problem()
    loss = solve(dynamics, initial, REGULAR, backend="native").pow(2).sum()
    with pytest.raises(UserError, match="no second derivatives: use --ode-backend torchdiffeq, or"):
        torch.autograd.grad(loss, list(dynamics.parameters()), create_graph=True)
