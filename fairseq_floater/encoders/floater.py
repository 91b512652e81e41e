"""FLOATER: trajectories of a learned differential equation (Liu et al. 2020)."""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Dict, List, Optional, Set, Tuple, Type

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.flags import (
    AT_LEAST_ONE,
    NON_NEGATIVE,
    POSITIVE,
    Range,
    SharingOptions,
    TimesOptions,
    flag,
)
from fairseq_floater.encoders.oscillators import SHORTEST_PERIOD, spread_periods
from fairseq_floater.encoders.rotary import RotaryOptions
from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.grid import StepsPerPosition, parse_steps_per_position
from fairseq_floater.ode.hermite import hermite
from fairseq_floater.ode.reference import SOLVERS
from fairseq_floater.ode.runge_kutta import ACTIVATIONS, TABLEAUS
from fairseq_floater.ode.solver import BACKENDS, solve

#: names of the options on when a token stands
TIMES = {declared.name for declared in fields(TimesOptions)}

#: damping x step beyond which a solver of dp/dt = -damping p no longer shrinks p
LARGEST_DAMPED_STEP = {"euler": 2.0, "midpoint": 2.0, "rk4": 2.785}


@dataclass
class FloaterOptions(RotaryOptions, SharingOptions):
    """The equation, its start and its solver; rotary's where angles depart from it."""

    position_delta: float = flag(0.1, "time between two positions (floater)", range=POSITIVE)
    dynamics_activation: str = flag(
        "tanh",
        "nonlinearity of the dynamics; with unbounded ones such as relu, weights that are random "
        "or trained can make p grow exponentially with the position (floater)",
        choices=tuple(sorted(ACTIVATIONS)),
    )
    dynamics_hidden_dim: Optional[int] = flag(
        None,
        "hidden size of the dynamics; default: the size of the state (floater)",
        range=AT_LEAST_ONE,
    )
    dynamics_init: str = flag(
        "oscillators",
        "what h starts as: oscillators, each pair of features going round with a period of its "
        "own, as sinusoids do, so that trajectories neither grow nor merge; or random (floater)",
        choices=("oscillators", "random"),
    )
    dynamics_init_scale: float = flag(
        0.3,
        "oscillators: scale of their nonlinearity, > 0, the smaller the closer to linear; random: "
        "factor on Xavier weights, with 0 for constant trajectories (floater)",
        range=NON_NEGATIVE,
    )
    dynamics_longest_period: float = flag(
        1000.0,
        "period of the slowest oscillator, in positions; that of the fastest is 4 pi (floater)",
        range=Range("> 4 pi", lambda period: SHORTEST_PERIOD < period < float("inf")),
    )
    dynamics_damping: float = flag(
        0.0,
        "lambda in dp/dt = h(t, p) - lambda p, which forgets; 0 is the paper's model (floater)",
        range=NON_NEGATIVE,
    )
    ode_solver: str = flag(
        "rk4",
        "native: euler, midpoint, rk4; torchdiffeq: any of the list (floater)",
        choices=SOLVERS,
    )
    ode_steps_per_position: str = flag(
        "1",
        "solver steps between two positions: a whole number, or 1/m for one step over m "
        "positions; the paper uses 5 (floater)",
    )
    ode_backend: str = flag("native", "our solver, or the reference (floater)", choices=BACKENDS)
    ode_adjoint: bool = flag(
        False,
        "torchdiffeq's continuous adjoint, as in the paper, in place of exact gradients; slow "
        "(floater, torchdiffeq)",
    )

    position_state_dim: int = flag(
        32,
        "width of the trajectory where it bends angles or scores (floater as rotation or scores)",
        range=AT_LEAST_ONE,
    )
    scores_start: str = flag(
        "alibi",
        "scores by distance start as symmetric ALiBi, or as zero (floater as scores)",
        choices=("alibi", "zero"),
    )

    def check(self) -> None:
        """Raises ``UserError`` for combinations that have no meaning."""
        try:
            steps = float(parse_steps_per_position(self.ode_steps_per_position))
        except UserError as error:
            raise UserError(f"--ode-steps-per-position: {error}") from None
        if not 1e-6 <= self.position_delta <= 1e6:
            raise UserError(
                f"--position-delta must be between 1e-6 and 1e6, got {self.position_delta}: "
                "beyond these, times and rates leave the range of float32"
            )
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
        # A step must shrink what is damped, or the solver blows up what the equation forgets.
        step = self.position_delta / steps
        largest = LARGEST_DAMPED_STEP.get(self.ode_solver, float("inf"))
        if self.dynamics_damping * step > largest:
            raise UserError(
                f"--dynamics-damping {self.dynamics_damping} is too much for --ode-solver "
                f"{self.ode_solver} at steps of {step:g}: use at most {largest / step:.4g}, or "
                "raise --ode-steps-per-position"
            )

    def unread(self) -> Set[str]:
        """Only oscillators have a longest period; angles and scores have a width of their own."""
        injection = getattr(self, "injection", None)
        unread = TimesOptions.unread(self)
        if self.dynamics_init == "random":
            unread |= {"dynamics_longest_period"}
        if injection not in ("rotation", "scores"):
            unread |= {"position_state_dim"}
        if injection != "rotation":
            unread |= {declared.name for declared in fields(RotaryOptions)} - TIMES
        return unread if injection == "scores" else unread | {"scores_start"}


def build_dynamics(options: FloaterOptions, dim: int) -> MLPDynamics:
    """h of FLOATER, from options alone."""
    frequencies = None
    if options.dynamics_init == "oscillators":
        periods = spread_periods(dim // 2, SHORTEST_PERIOD, options.dynamics_longest_period)
        frequencies = 2 * math.pi / (periods * options.position_delta)
    return MLPDynamics(
        dim,
        options.dynamics_hidden_dim,
        options.dynamics_activation,
        damping=options.dynamics_damping,
        init_scale=options.dynamics_init_scale,
        frequencies=frequencies,
    )


class FloaterEncoder(PositionEncoder):
    """p(t) with dp/dt = dynamics(t, p) and p(0) learned; position i stands at time i * delta.

    All tracks share the dynamics and differ in their initial values (paper, section 3.1), so
    they are one batched solve.

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        dynamics: the right-hand side, usually ``MLPDynamics``; may be shared between encoders.
        delta: time between two positions, > 0.
        initial_std: standard deviation of the initial values; 0 starts all of them at 0.
        solver, steps_per_position, backend, adjoint: see ``fairseq_floater.ode.solver.solve``.
    """

    kind = "floater"
    Options = FloaterOptions
    injections = ("bias", "additive", "rotation", "scores")
    defined_by = ("position_delta", "dynamics_activation", "dynamics_damping")
    sequential = True

    #: the class that serves an injection, where that is another (see ``departure``)
    forms: ClassVar[Dict[str, Type["FloaterEncoder"]]] = {}

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: nn.Module,
        *,
        delta: float = 0.1,
        initial_std: float = 0.0,
        solver: str = "rk4",
        steps_per_position: StepsPerPosition = 1,
        backend: Optional[str] = None,
        adjoint: bool = False,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        if not delta > 0:
            raise UserError(f"position delta must be > 0, got {delta}")
        self.dynamics = dynamics
        self.initial = nn.Parameter(initial_std * torch.randn(tracks, dim))
        self.delta = float(delta)
        self.solver = solver
        self.steps_per_position = parse_steps_per_position(steps_per_position)
        self.backend = backend
        self.adjoint = adjoint
        # The table is continued from a node of the solver's grid.
        stride = self.steps_per_position.denominator
        self.growth = -(-PositionEncoder.growth // stride) * stride

    @classmethod
    def from_options(cls, options: FloaterOptions, wanted: Wanted) -> "FloaterEncoder":
        return cls.forms.get(wanted.injection, cls).of(options, wanted)

    @classmethod
    def defining(cls, options: Any) -> Tuple[str, ...]:
        angles = ("rotary_base", "rotary_share", "rotary_layout")
        more = {"rotation": angles, "scores": ("scores_start",)}
        return cls.defined_by + more.get(options.injection, ())

    @classmethod
    def departs_from(cls, options: Any) -> Optional[Dict[str, Any]]:
        if options.injection == "rotation":
            return {"position_encoder": "rotary"}
        if options.injection == "scores" and options.scores_start == "alibi":
            return {"position_encoder": "alibi", "alibi_form": "symmetric"}
        return None

    @classmethod
    def of(cls, options: FloaterOptions, wanted: Wanted) -> "FloaterEncoder":
        """This class as ``options`` describe it, for what is ``wanted``."""
        dynamics = build_dynamics(options, wanted.dim)
        settings = cls.settings(options, wanted.name)
        std = wanted.initial_std
        return cls(wanted.tracks, wanted.dim, dynamics, initial_std=std, **settings)

    @staticmethod
    def settings(options: FloaterOptions, name: str) -> Dict[str, Any]:
        """Arguments that follow from options alone, and the name."""
        return {
            "delta": options.position_delta,
            "solver": options.ode_solver,
            "steps_per_position": options.ode_steps_per_position,
            "backend": options.ode_backend,
            "adjoint": options.ode_adjoint,
            "name": name,
        }

    def states(self, length: int, unchanged: bool = False) -> Tensor:
        """p at the positions 0 .. length - 1, (tracks, length, dim), kept where it can be."""
        return PositionEncoder.first(self, length, unchanged)

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        table = solve(
            self.dynamics,
            (self.initial if start is None else start).to(self.dtype),
            positions * self.delta,
            solver=self.solver,
            steps_per_position=self.steps_per_position,
            backend=self.backend,
            adjoint=self.adjoint,
        )
        if not bool(torch.isfinite(table[:, -1]).all()):
            self._raise_diverged(table, positions)
        return table

    def at(self, positions: Tensor, unchanged: bool = False) -> Tensor:
        """Between whole positions, the cubic that has the states and slopes of both."""
        before = positions.floor().long()
        states = self.states(int(before[-1]) + 2, unchanged)
        whole = torch.stack([before, before + 1]).to(states.device)
        ends = states[:, whole]  # (tracks, 2, positions, dim)
        learning = torch.is_grad_enabled() and not self.resting
        with torch.autocast(states.device.type, enabled=False), torch.set_grad_enabled(learning):
            slopes = self.dynamics((whole * self.delta).unsqueeze(-1), ends) * self.delta
        fraction = (positions.to("cpu", torch.float64) - before.cpu()).to(states).unsqueeze(-1)
        return hermite(fraction, ends[:, 0], slopes[:, 0], ends[:, 1], slopes[:, 1])

    def track_parameters(self) -> List[str]:
        return ["initial"]

    def output_parameters(self) -> List[str]:
        h_at_0 = self.dynamics(self.anchor.new_ones(()), torch.zeros_like(self.initial))
        return ["initial", "dynamics.fc2."] if bool(h_at_0.any()) else ["initial"]

    def _raise_diverged(self, table: Tensor, positions: Tensor) -> None:
        finite = torch.isfinite(table).all(dim=2).all(dim=0)
        first = positions[int((~finite).nonzero()[0])].item()
        damped = getattr(self.dynamics, "damping", 0.0) > 0.0
        raise UserError(
            f"{self.name}: the position encodings are not finite from position {first:g} on: "
            f"lower --dynamics-init-scale, --position-delta or the learning rate, "
            f"{'' if damped else 'raise --dynamics-damping, '}or use --dynamics-activation tanh"
        )

    def extra_repr(self) -> str:
        return (
            f"tracks={self.tracks}, dim={self.dim}, delta={self.delta}, solver={self.solver}, "
            f"steps_per_position={self.steps_per_position}"
        )
