"""Export what a model needs of its position encoders: a table, and how it is continued."""

from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Type

import torch
from torch import Tensor

from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.encoders.alibi import AlibiEncoder
from fairseq_floater.encoders.departure import Departure, FloaterRotation, FloaterScores
from fairseq_floater.encoders.fire import FireEncoder
from fairseq_floater.encoders.floater import FloaterEncoder
from fairseq_floater.encoders.fourier import FourierEncoder
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.encoders.relative_bias import RelativeBiasEncoder
from fairseq_floater.encoders.rnn import RNNEncoder
from fairseq_floater.encoders.rotary import RotaryEncoder
from fairseq_floater.encoders.shaw import ShawEncoder
from fairseq_floater.encoders.sinusoidal import SinusoidalEncoder
from fairseq_floater.encoders.table_limits import require_room
from fairseq_floater.errors import UserError
from fairseq_floater.ode.driven import DrivenDynamics
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.layers import Linear
from fairseq_floater.ode.linear import LinearDynamics
from fairseq_floater.ode.runge_kutta import TABLEAUS

#: steps between two positions, in place of a solver that chooses its own
FINE = 8


class Exported(NamedTuple):
    """One encoder: ``settings`` for a configuration, and ``tensors`` by their names there.

    The classes of ``remote.positions_floater`` take both.
    """

    settings: Dict[str, Any]
    tensors: Dict[str, Tensor]

    @classmethod
    def of(cls, encoder: PositionEncoder, length: int) -> "Exported":
        """Export ``encoder`` with its first ``length`` positions, or with all if they end."""
        for kind, export in _EXPORTS:
            if isinstance(encoder, kind):
                with torch.no_grad():
                    name, stored, settings, tensors = export(encoder, length)
                break
        else:
            raise UserError(
                f"positions of --position-encoder {encoder.kind} have no form in plain torch that "
                "continues them without this package: use --to torch"
            )
        tensors = {n: t.detach().float().contiguous().clone() for n, t in tensors.items()}
        settings["kind"], settings["shape"] = name, list(stored.shape)
        settings["weights"] = {n: list(tensor.shape) for n, tensor in tensors.items()}
        return cls(settings, {"stored": stored.detach().float().contiguous().clone(), **tensors})


#: kind of the table, what is stored, its settings, and its weights
_Parts = Tuple[str, Tensor, Dict[str, Any], Dict[str, Tensor]]


def _learned(encoder: LearnedEncoder, length: int) -> _Parts:
    return "learned", encoder.table, {}, {}


def _sinusoidal(encoder: SinusoidalEncoder, length: int) -> _Parts:
    return "sinusoidal", encoder(length), {"offset": encoder.offset}, {}


def _rotary(encoder: RotaryEncoder, length: int) -> _Parts:
    return "rotary", encoder(length), {"base": encoder.base}, {}


def _alibi(encoder: AlibiEncoder, length: int) -> _Parts:
    return "alibi", encoder(max(length, 2)), {}, {}


def _relative_bias(encoder: RelativeBiasEncoder, length: int) -> _Parts:
    farthest = encoder.max_distance
    require_room(encoder, farthest + 1, f"--relative-max-distance {farthest}")
    return "relative-bias", encoder(max(length, farthest + 1)), {}, {}


def _shaw(encoder: ShawEncoder, length: int) -> _Parts:
    return "shaw", encoder(1), {}, {}


def _fire(encoder: FireEncoder, length: int) -> _Parts:
    networks: List[Any] = list(encoder.networks)
    length_now = encoder.length * encoder.length_factor
    tensors = {"c": encoder.c.view(-1), "length": length_now.view(-1)}
    for name, layer in (("1", 0), ("2", 2)):
        tensors[f"weight{name}"] = torch.stack([network[layer].weight for network in networks])
        tensors[f"bias{name}"] = torch.stack([network[layer].bias for network in networks])
    return "fire", torch.zeros(0), {"directions": encoder.directions}, tensors


def _fourier(encoder: FourierEncoder, length: int) -> _Parts:
    tensors: Dict[str, Tensor] = {"frequencies": encoder.frequencies, "output": encoder.output}
    return "fourier", encoder(length), {}, tensors | _of(encoder.hidden)


def _rnn(encoder: RNNEncoder, length: int) -> _Parts:
    cell = encoder.dynamics
    tensors: Dict[str, Tensor] = {}
    for number, layer in enumerate(cell.layers):
        tensors |= _of(layer, str(number))
    settings = {"fed": cell.input, "layers": len(cell.layers)}
    return "rnn", encoder(length), settings, tensors


def _floater(encoder: FloaterEncoder, length: int) -> _Parts:
    settings: Dict[str, Any] = {"delta": encoder.delta, "start": None}
    tensors: Dict[str, Tensor] = {}
    if isinstance(encoder, Departure):
        tensors["readout"] = encoder.readout
        if isinstance(encoder, FloaterRotation):
            settings |= {"start": "angles", "pairs": encoder.pairs, "base": encoder.base}
        if isinstance(encoder, FloaterScores):
            settings["start"], tensors["slopes"] = "slopes", encoder.slopes
    dynamics = encoder.dynamics
    if isinstance(dynamics, LinearDynamics):
        basis = dynamics.basis(encoder.starts)
        tensors |= {"rates": dynamics.rates, "basis": basis, "coordinates": encoder.starts @ basis}
        kind = "linear"
        if isinstance(dynamics, DrivenDynamics):
            kind, tensors["drive"] = "driven", dynamics.drive.weight
            tensors |= _of(dynamics.hidden)
    else:
        assert isinstance(dynamics, MLPDynamics)
        kind, tableau = "mlp", TABLEAUS.get(encoder.solver, TABLEAUS["rk4"])
        settings |= {"a": tableau.a, "b": tableau.b, "c": tableau.c}
        steps = encoder.steps_per_position
        native = encoder.solver in TABLEAUS
        settings |= {"steps": steps.numerator if native else FINE, "stride": steps.denominator}
        settings |= {"activation": dynamics.activation, "damping": dynamics.damping}
        tensors |= _of(dynamics.fc1, "1") | _of(dynamics.fc2, "2")
    return kind, encoder.states(length), settings, tensors


def _of(layer: Linear, name: str = "") -> Dict[str, Tensor]:
    return {f"weight{name}": layer.weight, f"bias{name}": layer.bias}


_EXPORTS: List[Tuple[Type[PositionEncoder], Callable[..., _Parts]]] = [
    (LearnedEncoder, _learned),
    (SinusoidalEncoder, _sinusoidal),
    (RotaryEncoder, _rotary),
    (AlibiEncoder, _alibi),
    (RelativeBiasEncoder, _relative_bias),
    (ShawEncoder, _shaw),
    (FireEncoder, _fire),
    (FourierEncoder, _fourier),
    (RNNEncoder, _rnn),
    (FloaterEncoder, _floater),
]
