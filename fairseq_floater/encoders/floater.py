"""FLOATER: trajectories of a learned differential equation (Liu et al. 2020)."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Set, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater import devices
from fairseq_floater.encoders.base import PositionEncoder, Wanted
from fairseq_floater.encoders.dynamics import DynamicsOptions, build_dynamics
from fairseq_floater.encoders.flags import AT_LEAST_ONE, SharingOptions, TimesOptions, flag
from fairseq_floater.encoders.rotary import RotaryEncoder, RotaryOptions
from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.equation import Equation, Stepwise
from fairseq_floater.ode.grid import StepsPerPosition, parse_steps_per_position
from fairseq_floater.ode.hermite import hermite
from fairseq_floater.ode.linear import LinearDynamics
from fairseq_floater.ode.reference import FIXED_SOLVERS


@dataclass
class FloaterOptions(DynamicsOptions, RotaryOptions, SharingOptions):
    """The equation, its start and its solver, and rotary's options where angles depart from it."""

    position_state_dim: int = flag(
        32,
        "width of the trajectory where it bends angles or scores (floater as rotation or scores)",
        range=AT_LEAST_ONE,
    )
    scores_start: str = flag(
        "alibi",
        "scores by distance start as symmetric ALiBi, or at zero (floater as scores)",
        choices=("alibi", "zero"),
    )

    def unread(self) -> Set[str]:
        """Only angles and scores read a width of their own, and each of them a start."""
        injection = getattr(self, "injection", None)
        unread = DynamicsOptions.unread(self) | TimesOptions.unread(self)
        if injection != "bias":
            unread |= {"initial_scale"}
        if injection not in ("rotation", "scores"):
            unread |= {"position_state_dim"}
        if injection != "rotation":
            unread |= set(RotaryEncoder.defined_by)
        return unread if injection == "scores" else unread | {"scores_start"}


class FloaterEncoder(PositionEncoder):
    """p(t) with dp/dt = dynamics(t, p) and p(0) learned; position i stands at time i * delta.

    All tracks share the dynamics and differ in their initial values (paper, section 3.1), so
    they are one batched solve.

    Args:
        tracks, dim, name: see ``PositionEncoder``.
        dynamics: the right-hand side, see ``dynamics``; may be shared between encoders.
        delta: time between two positions, > 0.
        initial_std: standard deviation of the initial values; 0 starts all of them at 0.
        initial_scale: the initial values are the learned parameter times this.
        solver, steps_per_position, backend, adjoint: see ``fairseq_floater.ode.solver.solve``; not
            read with ``LinearDynamics`` and ``DrivenDynamics``, which need no solver.
    """

    kind = "floater"
    Options = FloaterOptions
    injections = ("bias", "additive", "rotation", "scores")
    defined_by = (
        *("position_delta", "dynamics", "dynamics_activation", "dynamics_damping"),
        "initial_scale",
    )
    sequential = True
    shared_parameters = ("dynamics.",)

    def __init__(
        self,
        tracks: int,
        dim: int,
        dynamics: nn.Module,
        *,
        delta: float = 0.1,
        initial_std: float = 0.0,
        initial_scale: float = 1.0,
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
        self.initial = nn.Parameter(initial_std / initial_scale * torch.randn(tracks, dim))
        self.initial_scale = initial_scale
        self.delta = float(delta)
        self.solver = solver
        self.steps_per_position = parse_steps_per_position(steps_per_position)
        self.backend = backend
        self.adjoint = adjoint
        self.growth = self.equation.growth(PositionEncoder.growth)

    @property
    def starts(self) -> Tensor:
        """p at position 0, (tracks, dim)."""
        return self.initial if self.initial_scale == 1.0 else self.initial * self.initial_scale

    @property
    def equation(self) -> Equation:
        """The dynamics, and how they are solved."""
        if isinstance(self.dynamics, LinearDynamics):
            return self.dynamics
        return Stepwise(
            self.dynamics, self.solver, self.steps_per_position, self.backend, self.adjoint
        )

    @classmethod
    def defining(cls, options: Any) -> Tuple[str, ...]:
        unread = FloaterOptions.unread(options)
        more = {"rotation": RotaryEncoder.defined_by, "scores": ("scores_start",)}
        defining = (name for name in cls.defined_by if name not in unread)
        return (*defining, *more.get(options.injection, ()))

    @classmethod
    def departs_from(cls, options: Any) -> Optional[Dict[str, Any]]:
        if options.injection == "rotation":
            return {"position_encoder": "rotary"}
        if options.injection == "scores" and options.scores_start == "alibi":
            return {"position_encoder": "alibi", "alibi_form": "symmetric"}
        return None

    @classmethod
    def from_options(cls, options: FloaterOptions, wanted: Wanted) -> "FloaterEncoder":
        dynamics = build_dynamics(options, wanted.dim)
        settings = cls.settings(options, wanted.name)
        settings["initial_std"] = wanted.initial_std
        if "initial_scale" not in FloaterOptions.unread(options):
            settings["initial_scale"] = options.initial_scale
        return cls(wanted.tracks, wanted.dim, dynamics, **settings)

    @staticmethod
    def settings(options: FloaterOptions, name: str) -> Dict[str, Any]:
        """Return the arguments that follow from options alone, and the name."""
        return {
            "delta": options.position_delta,
            "solver": options.ode_solver,
            "steps_per_position": options.ode_steps_per_position,
            "backend": options.ode_backend,
            "adjoint": options.ode_adjoint,
            "name": name,
        }

    def states(self, length: int) -> Tensor:
        """Return p at positions 0 .. length - 1, (tracks, length, dim), kept if it can be."""
        return PositionEncoder.first(self, length)

    def trajectories(self, positions: Tensor, start: Optional[Tensor] = None) -> Tensor:
        equation, initial = self.equation, self.starts.to(self.dtype)
        table = equation.flow(initial, positions * self.delta, start)
        if equation.bounded:
            return table
        # In training on a device other than the CPU, the loss, which fairseq reads, shows as much.
        read = devices.free_to_read(table) or not table.requires_grad
        if read and not bool(torch.isfinite(table[:, -1]).all()):
            self._raise_diverged(table, positions)
        return table

    def exact(self, positions: Tensor, start: Tensor) -> Tensor:
        """Like ``trajectories``, by finer steps, from the states ``start`` at ``positions[0]``."""
        return self.equation.exact(self.starts, positions * self.delta, start)

    def at(self, positions: Tensor) -> Tensor:
        """Return the closed form, or interpolate between the two whole positions around each.

        The cubic between them has the states and the slopes of both.
        """
        if self.equation.closed:
            return self.computed(positions)
        before = positions.floor().long()
        states = self.states(int(before[-1]) + 2)
        whole = torch.stack([before, before + 1]).to(states.device)
        ends = states[:, whole]  # (tracks, 2, positions, dim)
        with self.computing():
            initial, times = self.starts.to(ends), whole.double() * self.delta
            slopes = self.equation.slopes(initial, times, ends) * self.delta
        fraction = (positions.to("cpu", torch.float64) - before.cpu()).to(states).unsqueeze(-1)
        return hermite(fraction, ends[:, 0], slopes[:, 0], ends[:, 1], slopes[:, 1])

    def track_parameters(self) -> List[str]:
        return ["initial"]

    def output_parameters(self) -> List[str]:
        zero = torch.zeros_like(self.initial, dtype=self.dtype)  # a model may be in half precision
        h_at_0 = self.equation.slopes(zero, zero.new_ones(()), zero)  # h also sees the time
        if not bool(h_at_0.any()):
            return ["initial"]
        return ["initial", "dynamics.fc2."] if isinstance(self.dynamics, MLPDynamics) else []

    def _raise_diverged(self, table: Tensor, positions: Tensor) -> None:
        finite = torch.isfinite(table).all(dim=2).all(dim=0)
        first = positions[int((~finite).nonzero()[0])].item()
        damped = getattr(self.dynamics, "damping", 0.0) > 0.0
        bounded = getattr(self.dynamics, "activation", "tanh") == "tanh"
        fixes = ["lower --dynamics-init-scale, --position-delta or the learning rate"]
        if not damped:
            fixes.append("raise --dynamics-damping")
        if self.solver in FIXED_SOLVERS:
            fixes.append("raise --ode-steps-per-position")
        if not bounded:
            fixes.append("use --dynamics-activation tanh")
        raise UserError(
            f"{self.name}: the position encodings are not finite from position {first:g} on: "
            f"{'; or '.join(fixes)}"
        )

    def extra_repr(self) -> str:
        found = f"tracks={self.tracks}, dim={self.dim}, delta={self.delta}"
        if isinstance(self.equation, Stepwise):
            found += f", solver={self.solver}, steps_per_position={self.steps_per_position}"
        return found + ("" if self.initial_scale == 1 else f", initial_scale={self.initial_scale}")
