"""Every option of the position encoding: one typed dataclass, checked once, in one place."""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_floater.encoders.rnn import INPUTS as RNN_INPUTS
from fairseq_floater.errors import UserError
from fairseq_floater.ode.grid import parse_steps_per_position
from fairseq_floater.ode.reference import SOLVERS
from fairseq_floater.ode.runge_kutta import ACTIVATIONS, TABLEAUS
from fairseq_floater.ode.solver import BACKENDS

ENCODERS = ("floater", "sinusoidal", "learned", "rnn", "none")
BLOCKS = ("all", "input")
INJECTIONS = ("bias", "additive")
SHARING = ("stack", "all")
TIMES = ("tokens", "sentences")
INITS = ("oscillators", "random")

#: of oscillators, in positions: twice that of the fastest sinusoid of Vaswani et al. (2017), so
#: that a solver of one step a position follows it: over 64 positions within 1.6 % (all
#: frequencies together within 0.2 %)
SHORTEST_PERIOD = 4 * math.pi

#: the options that a position encoder reads, beside its blocks and its injection
READS = {
    "floater": (
        "position_delta",
        "position_times",
        "dynamics_activation",
        "dynamics_hidden_dim",
        "dynamics_init",
        "dynamics_init_scale",
        "dynamics_longest_period",
        "dynamics_damping",
        "share_dynamics",
        "ode_solver",
        "ode_steps_per_position",
        "ode_backend",
        "ode_adjoint",
    ),
    "sinusoidal": ("position_times",),
    "learned": (),
    "rnn": ("share_dynamics", "rnn_layers", "rnn_input"),
    "none": (),
}
#: damping x step beyond which a solver of dp/dt = -damping p no longer shrinks p
LARGEST_DAMPED_STEP = {"euler": 2.0, "midpoint": 2.0, "rk4": 2.785}

LEVERS = ("dynamics_lr_scale", "dynamics_update_interval", "freeze_dynamics", "freeze_base")


@dataclass
class PositionOptions(FairseqDataclass):
    """Options of the position encoding; each is a command-line flag of the same name."""

    position_encoder: ChoiceEnum(ENCODERS) = field(
        default="floater",
        metadata={
            "help": "where positions come from: a learned ODE, sinusoids, a learned table, "
            "a recurrent cell, or nowhere"
        },
    )
    position_blocks: ChoiceEnum(BLOCKS) = field(
        default="all",
        metadata={"help": "inject positions at all blocks, or at the first block's input only"},
    )
    position_injection: Optional[ChoiceEnum(INJECTIONS)] = field(
        default=None,
        metadata={
            "help": "bias: keep the base input encoding and add a bias to every attention's "
            "queries, keys and values (default for floater); additive: add a vector to the "
            "block's input, in place of the base encoding (default for the others)"
        },
    )
    position_delta: float = field(
        default=0.1, metadata={"help": "time between two positions, > 0 (floater)"}
    )
    position_times: ChoiceEnum(TIMES) = field(
        default="tokens",
        metadata={
            "help": "when a token stands: at its number, or, for documents, in sentences with "
            "pauses between them, each proportional to the length of the sentence before it "
            "(floater, sinusoidal)"
        },
    )
    sentence_separator: str = field(
        default="<s/>",
        metadata={"help": "symbol of the dictionary that ends a sentence in a document"},
    )
    sentence_gap: float = field(
        default=1.0,
        metadata={"help": "pause after a sentence, in positions for each of its tokens, >= 0"},
    )
    dynamics_activation: ChoiceEnum(tuple(sorted(ACTIVATIONS))) = field(
        default="tanh",
        metadata={
            "help": "nonlinearity of the dynamics; with unbounded ones such as relu, weights that "
            "are random or trained can make p grow exponentially with the position (floater)"
        },
    )
    dynamics_hidden_dim: Optional[int] = field(
        default=None,
        metadata={
            "help": "hidden size of the dynamics, >= 1; default: the size of the state (floater)"
        },
    )
    dynamics_init: ChoiceEnum(INITS) = field(
        default="oscillators",
        metadata={
            "help": "what h starts as: oscillators, each pair of features going round with a "
            "period of its own, as sinusoids do, so that trajectories neither grow nor merge; or "
            "random (floater)"
        },
    )
    dynamics_init_scale: float = field(
        default=0.3,
        metadata={
            "help": "oscillators: scale of their nonlinearity, > 0, the smaller the closer to "
            "linear; random: factor on Xavier weights, >= 0, with 0 for constant trajectories "
            "(floater)"
        },
    )
    dynamics_longest_period: float = field(
        default=1000.0,
        metadata={
            "help": "period of the slowest oscillator, in positions, > 4 pi, which is that of the "
            "fastest (floater)"
        },
    )
    dynamics_damping: float = field(
        default=0.0,
        metadata={
            "help": "lambda >= 0 in dp/dt = h(t, p) - lambda p, which forgets; 0 is the paper's "
            "model (floater)"
        },
    )
    share_dynamics: ChoiceEnum(SHARING) = field(
        default="stack",
        metadata={
            "help": "one h for each of encoder and decoder, or one for all the model (floater, rnn)"
        },
    )
    rnn_layers: int = field(
        default=1,
        metadata={"help": "linear layers of the recurrent cell, 1 or 2 (rnn)"},
    )
    rnn_input: ChoiceEnum(RNN_INPUTS) = field(
        default="scalar",
        metadata={"help": "what the recurrent cell is fed: the position, or its sinusoids (rnn)"},
    )
    ode_solver: ChoiceEnum(SOLVERS) = field(
        default="rk4",
        metadata={"help": "native: euler, midpoint, rk4; torchdiffeq: any of the list (floater)"},
    )
    ode_steps_per_position: str = field(
        default="1",
        metadata={
            "help": "solver steps between two positions: a whole number, or 1/m for one "
            "step over m positions; the paper uses 5 (floater)"
        },
    )
    ode_backend: ChoiceEnum(BACKENDS) = field(
        default="native", metadata={"help": "ours, or the reference (floater)"}
    )
    ode_adjoint: bool = field(
        default=False,
        metadata={
            "help": "torchdiffeq's continuous adjoint, as in the paper, in place of exact "
            "gradients; slow (floater, torchdiffeq)"
        },
    )

    dynamics_lr_scale: float = field(
        default=1.0,
        metadata={
            "help": "learning rate of the dynamics, as a multiple of that of all else, > 0; the "
            "paper uses a larger one (floater, rnn)"
        },
    )
    dynamics_update_interval: int = field(
        default=1,
        metadata={
            "help": "update the position encoder at every k-th update only, and solve only then, "
            ">= 1; in data-parallel training with --find-unused-parameters, or, with "
            "--checkpoint-activations, --ddp-backend legacy_ddp (floater, rnn, learned)"
        },
    )
    freeze_dynamics: bool = field(
        default=False,
        metadata={"help": "leave the position encoder as it is, and do not solve in training"},
    )
    freeze_base: bool = field(
        default=False, metadata={"help": "train the position encoder only, and nothing else"}
    )

    @property
    def injection(self) -> str:
        """The injection in force."""
        if self.position_injection is not None:
            return str(self.position_injection)
        return "bias" if self.position_encoder == "floater" else "additive"

    def in_force(self) -> Dict[str, Any]:
        """The options that this position encoder reads, and their values."""
        kind = str(self.position_encoder)
        blocks, injection = str(self.position_blocks), self.injection
        where = {} if kind == "none" else dict(position_blocks=blocks, position_injection=injection)
        names = READS[kind]
        if self.position_times == "sentences" and "position_times" in names:
            names += ("sentence_separator", "sentence_gap")
        if kind in ("floater", "rnn", "learned"):
            names += LEVERS
        values = {name: getattr(self, name) for name in names}
        if values.get("dynamics_init") == "random":
            del values["dynamics_longest_period"]
        plain = {n: str(value) if isinstance(value, Enum) else value for n, value in values.items()}
        return {"position_encoder": kind, **where, **plain}

    def validate(self) -> "PositionOptions":
        """Check every range and combination; returns self.

        Raises:
            UserError: naming the flag, its value and the mend.
        """
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not (name == "position_injection" and value is None):
                raise UserError(f"{_flag(name)} is {value!r}: choose from {', '.join(choices)}")
        _require(self, "position_delta", _positive, "> 0")
        _require(self, "sentence_gap", _non_negative, ">= 0")
        if self.dynamics_init == "oscillators":
            _require(self, "dynamics_init_scale", _positive, "> 0 with --dynamics-init oscillators")
        _require(self, "dynamics_init_scale", _non_negative, ">= 0")
        _require(self, "dynamics_longest_period", _longer_than_shortest, "> 4 pi")
        _require(self, "dynamics_damping", _non_negative, ">= 0")
        _require(self, "dynamics_lr_scale", _positive, "> 0")
        _require(self, "dynamics_update_interval", lambda x: x >= 1, ">= 1")
        _require(self, "rnn_layers", lambda x: x in (1, 2), "1 or 2")
        if self.dynamics_hidden_dim is not None:
            _require(self, "dynamics_hidden_dim", lambda x: x >= 1, ">= 1")
        try:
            parse_steps_per_position(self.ode_steps_per_position)
        except UserError as error:
            raise UserError(f"--ode-steps-per-position: {error}") from None
        self._validate_combinations()
        return self

    def _validate_combinations(self) -> None:
        if self.position_encoder == "none" and self.position_injection is not None:
            raise UserError(
                "--position-encoder none has nothing to inject: leave out --position-injection"
            )
        if self.position_encoder == "sinusoidal" and self.injection == "bias":
            raise UserError(
                "--position-encoder sinusoidal has no learned biases for --position-injection "
                "bias: use additive, or one of floater, learned, rnn"
            )
        if (
            self.position_times != "tokens"
            and "position_times" not in READS[str(self.position_encoder)]
        ):
            raise UserError(
                f"--position-encoder {self.position_encoder} has whole positions only, without "
                f"--position-times {self.position_times}: use floater or sinusoidal"
            )
        self._validate_damping()
        if self.freeze_base and self.freeze_dynamics:
            raise UserError(
                "--freeze-base and --freeze-dynamics leave nothing to learn: give one of them"
            )
        if self.freeze_base and self.dynamics_update_interval > 1:
            raise UserError(
                "--freeze-base leaves nothing to learn between the updates of "
                f"--dynamics-update-interval {self.dynamics_update_interval}: give one of them"
            )
        if self.ode_backend == "native":
            if self.ode_solver not in TABLEAUS:
                raise UserError(
                    f"--ode-backend native has no --ode-solver {self.ode_solver}: choose from "
                    f"{', '.join(TABLEAUS)}, or use --ode-backend torchdiffeq"
                )
            if self.ode_adjoint:
                raise UserError(
                    "--ode-adjoint needs --ode-backend torchdiffeq; the native gradient is exact"
                )

    def _validate_damping(self) -> None:
        """A step must shrink what is damped, or the solver blows up what the equation forgets."""
        solver = str(self.ode_solver)
        if self.position_encoder != "floater" or solver not in LARGEST_DAMPED_STEP:
            return
        step = self.position_delta / float(parse_steps_per_position(self.ode_steps_per_position))
        if self.dynamics_damping * step > LARGEST_DAMPED_STEP[solver]:
            raise UserError(
                f"--dynamics-damping {self.dynamics_damping} is too much for --ode-solver {solver} "
                f"at steps of {step:g}: use at most {LARGEST_DAMPED_STEP[solver] / step:.4g}, or "
                "raise --ode-steps-per-position"
            )


_CHOICES = {
    "position_encoder": ENCODERS,
    "position_blocks": BLOCKS,
    "position_injection": INJECTIONS,
    "position_times": TIMES,
    "dynamics_activation": tuple(sorted(ACTIVATIONS)),
    "dynamics_init": INITS,
    "share_dynamics": SHARING,
    "rnn_input": RNN_INPUTS,
    "ode_solver": SOLVERS,
    "ode_backend": BACKENDS,
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _non_negative(value: float) -> bool:
    return math.isfinite(value) and value >= 0


def _longer_than_shortest(period: float) -> bool:
    return SHORTEST_PERIOD < period < math.inf


def _require(options: PositionOptions, name: str, holds, wanted: str) -> None:
    value = getattr(options, name)
    if not holds(value):
        raise UserError(f"{_flag(name)} must be {wanted}, got {value}")
