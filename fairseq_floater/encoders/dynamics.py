"""The kinds of FLOATER's dynamics h in dp/dt = h(t, p), and the flags that each reads."""

import math
from dataclasses import dataclass, fields
from typing import Callable, Dict, FrozenSet, NamedTuple, Optional, Set

from torch import Tensor, nn

from fairseq_floater.encoders.base import KindOptions
from fairseq_floater.encoders.flags import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE, Range, flag
from fairseq_floater.encoders.oscillators import LONGEST_PERIOD, SHORTEST_PERIOD, spread_periods
from fairseq_floater.errors import UserError
from fairseq_floater.ode.driven import DrivenDynamics
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.grid import parse_steps_per_position
from fairseq_floater.ode.linear import LinearDynamics
from fairseq_floater.ode.reference import SOLVERS
from fairseq_floater.ode.runge_kutta import ACTIVATIONS, TABLEAUS
from fairseq_floater.ode.solver import BACKENDS

#: damping x step beyond which a solver of dp/dt = -damping p no longer shrinks p
LARGEST_DAMPED_STEP = {"euler": 2.0, "midpoint": 2.0, "heun2": 2.0, "heun3": 2.512, "rk4": 2.785}


class EquationKind(NamedTuple):
    """A kind of dynamics.

    Attributes:
        build: builds the dynamics from ``DynamicsOptions`` and the size of the state.
        reads: the fields of ``DynamicsOptions`` that it reads, besides ``position_delta``.
    """

    build: Callable[["DynamicsOptions", int], nn.Module]
    reads: FrozenSet[str]


def _mlp(options: "DynamicsOptions", dim: int) -> MLPDynamics:
    return MLPDynamics(
        dim,
        options.dynamics_hidden_dim,
        options.dynamics_activation,
        damping=options.dynamics_damping,
        init_scale=options.dynamics_init_scale,
        frequencies=_frequencies(options, dim) if options.dynamics_init == "oscillators" else None,
    )


def _linear(options: "DynamicsOptions", dim: int) -> LinearDynamics:
    return LinearDynamics(dim, _frequencies(options, dim))


def _driven(options: "DynamicsOptions", dim: int) -> DrivenDynamics:
    return DrivenDynamics(dim, _frequencies(options, dim), options.dynamics_hidden_dim)


def _frequencies(options: "DynamicsOptions", dim: int) -> Tensor:
    """Return frequencies (dim // 2,) in radians per unit of time."""
    periods = spread_periods(dim // 2, SHORTEST_PERIOD, options.dynamics_longest_period)
    return 2 * math.pi / (periods * options.position_delta)


#: every kind of dynamics, by its name
DYNAMICS: Dict[str, EquationKind] = {
    "mlp": EquationKind(
        _mlp,
        frozenset(
            {
                *("dynamics_activation", "dynamics_hidden_dim", "dynamics_init"),
                *("dynamics_init_scale", "dynamics_longest_period", "dynamics_damping"),
                *("ode_solver", "ode_steps_per_position", "ode_backend", "ode_adjoint"),
            }
        ),
    ),
    "linear": EquationKind(_linear, frozenset({"dynamics_longest_period", "initial_scale"})),
    "driven": EquationKind(
        _driven, frozenset({"dynamics_longest_period", "dynamics_hidden_dim", "initial_scale"})
    ),
}


@dataclass
class DynamicsOptions(KindOptions):
    """The equation and its solver."""

    position_delta: float = flag(
        0.1,
        "time between two positions; beyond its range, times and rates leave that of float32 "
        "(floater)",
        range=Range("between 1e-6 and 1e6", lambda delta: 1e-6 <= delta <= 1e6),
    )
    dynamics: str = flag(
        "linear",
        "h in dp/dt = h(t, p): linear, a learned rotation; driven, a rotation whose speeds follow "
        "the state; mlp, the paper's perceptron, solved step by step. The first two keep the norm "
        "of p constant, and are solved at all positions at once (floater)",
        choices=tuple(DYNAMICS),
        formerly="mlp",
    )
    initial_scale: float = flag(
        16.0,
        "p at position 0 is a learned vector times this factor, by which p learns faster where its "
        "norm stays constant (floater as bias, linear and driven)",
        range=POSITIVE,
        formerly=1.0,
    )
    dynamics_activation: str = flag(
        "tanh",
        "nonlinearity of the dynamics; with an unbounded one such as relu, random or trained "
        "weights can make p grow exponentially with the position (floater, mlp)",
        choices=tuple(sorted(ACTIVATIONS)),
    )
    dynamics_hidden_dim: Optional[int] = flag(
        None,
        "hidden size of the dynamics; default: the size of the state (floater, mlp and driven)",
        range=AT_LEAST_ONE,
    )
    dynamics_init: str = flag(
        "oscillators",
        "what h starts as: oscillators, where each pair of features goes round with a period of "
        "its own, as sinusoids do, so that trajectories neither grow nor merge; or random "
        "(floater, mlp; the others always start as oscillators)",
        choices=("oscillators", "random"),
    )
    dynamics_init_scale: float = flag(
        0.3,
        "for oscillators, the scale of their nonlinearity, > 0: the smaller it is, the closer they "
        "are to linear; for random, a factor on Xavier weights, where 0 gives constant "
        "trajectories (floater, mlp)",
        range=NON_NEGATIVE,
    )
    dynamics_longest_period: float = flag(
        1000.0,
        "bound on the oscillators' periods at the start, in positions, which the slowest comes "
        "near to, the nearer the wider the state; the period of the fastest is 4 pi (floater)",
        range=LONGEST_PERIOD,
    )
    dynamics_damping: float = flag(
        0.0,
        "lambda in dp/dt = h(t, p) - lambda p, which makes p forget its past; 0 is the paper's "
        "model (floater, mlp)",
        range=NON_NEGATIVE,
    )
    ode_solver: str = flag(
        "rk4",
        "native has euler, midpoint and rk4; torchdiffeq has the whole list (floater, mlp)",
        choices=SOLVERS,
    )
    ode_steps_per_position: str = flag(
        "1",
        "solver steps between two positions: a whole number up to 100, or 1/m for one step over m "
        "positions, up to 4096; the paper uses 5 (floater, mlp)",
    )
    ode_backend: str = flag(
        "native", "our own solver, or the reference (floater, mlp)", choices=BACKENDS
    )
    ode_adjoint: bool = flag(
        False,
        "use torchdiffeq's continuous adjoint, as in the paper, instead of exact gradients; slow "
        "(floater, mlp, torchdiffeq)",
    )

    def check(self) -> None:
        """Raise ``UserError`` for combinations that have no meaning."""
        try:
            steps = float(parse_steps_per_position(self.ode_steps_per_position))
        except UserError as error:
            raise UserError(f"--ode-steps-per-position: {error}") from None
        if self.dynamics_init == "oscillators" and not self.dynamics_init_scale > 0:
            raise UserError(
                "--dynamics-init-scale must be > 0 with --dynamics-init oscillators, got "
                f"{self.dynamics_init_scale}"
            )
        if self.ode_backend == "native" and self.ode_solver not in TABLEAUS:
            raise UserError(
                f"--ode-backend native has no --ode-solver {self.ode_solver}: choose from "
                f"{', '.join(TABLEAUS)}, or use --ode-backend torchdiffeq"
            )
        if self.ode_backend == "native" and self.ode_adjoint:
            raise UserError(
                "--ode-adjoint needs --ode-backend torchdiffeq; the native gradient is exact"
            )
        # A step must shrink what is damped, or the solver amplifies what the equation forgets.
        step = self.position_delta / steps
        largest = LARGEST_DAMPED_STEP.get(self.ode_solver, float("inf"))
        if self.dynamics_damping * step > largest:
            raise UserError(
                f"--dynamics-damping {self.dynamics_damping} is too much for --ode-solver "
                f"{self.ode_solver} at steps of {step:g}: use at most {largest / step:.4g}, or "
                "raise --ode-steps-per-position"
            )

    def unread(self) -> Set[str]:
        """Return what only other kinds of dynamics read; only oscillators have a longest period."""
        equation = DYNAMICS[self.dynamics]
        every = {declared.name for declared in fields(DynamicsOptions)}
        unread = every - equation.reads - {"position_delta", "dynamics"}
        if self.dynamics == "mlp" and self.dynamics_init == "random":
            unread |= {"dynamics_longest_period"}
        return unread


def build_dynamics(options: DynamicsOptions, dim: int) -> nn.Module:
    """Build h of FLOATER from options alone, for states of size ``dim``."""
    return DYNAMICS[options.dynamics].build(options, dim)
