"""Positions of models that were trained with fairseq_floater, in plain torch.

This file goes with an exported model. A table of vectors is stored for as many positions as were
asked for when the model was exported. Beyond them, it is continued by what the model has learned:
by its differential equation, or by the rule that its kind of positions follows.
"""

import math
from typing import Any, Dict, List, Optional, Type

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sin": torch.sin,
    "gelu": F.gelu,
    "silu": F.silu,
}

#: nodes and weights of the Gauss-Legendre rule between two positions
NODES, WEIGHTS = (torch.from_numpy(part) for part in leggauss(4))  # from -1 to 1
GAUSS = (NODES + 1) / 2, WEIGHTS / 2


class Table(nn.Module):
    """Vectors (tracks, positions, size), the same for every sentence.

    Args:
        settings: ``kind``, the ``shape`` of what is stored, and what the kind needs to know.
    """

    #: it is continued by at least this many rows
    growth = 64

    stored: Tensor

    def __init__(self, settings: Dict[str, Any]):
        super().__init__()
        self.settings = settings
        self.register_buffer("stored", torch.zeros(settings["shape"]))
        for name, shape in settings.get("weights", {}).items():
            self.register_buffer(name, torch.zeros(shape))
        self.grown: Optional[Tensor] = None

    def forward(self, length: int) -> Tensor:
        """Return (tracks, length, size)."""
        known = self.stored if self.grown is None else self.grown
        if known.device != self.stored.device or known.dtype != self.stored.dtype:
            known = self.stored
        if known.size(1) < length:
            rows = max(length, known.size(1) + self.growth)
            with torch.no_grad(), torch.autocast(known.device.type, enabled=False):
                known = torch.cat([known, self.more(known, rows).to(known)], dim=1)
            self.grown = known
        return known[:, :length]

    def more(self, known: Tensor, rows: int) -> Tensor:
        """Return the rows after those of ``known`` (tracks, positions, size), up to ``rows``."""
        raise NotImplementedError

    @staticmethod
    def positions(known: Tensor, rows: int) -> Tensor:
        """Return the positions that are wanted, in float64."""
        return torch.arange(known.size(1), rows, dtype=torch.float64, device=known.device)


class Ending(Table):
    """Vectors that were learned one by one, and cannot be continued."""

    growth = 0

    def more(self, known: Tensor, rows: int) -> Tensor:
        raise ValueError(
            f"{rows:,} positions are needed, but the learned ones of this model end after "
            f"{known.size(1):,}: give it shorter texts"
        )


class Lasting(Table):
    """The last row is repeated: buckets of distances."""

    def more(self, known: Tensor, rows: int) -> Tensor:
        return known[:, -1:].expand(-1, rows - known.size(1), -1)


class Proportional(Table):
    """Penalties that grow with the distance: ALiBi."""

    def more(self, known: Tensor, rows: int) -> Tensor:
        return known[:, 1:2] * self.positions(known, rows).to(known)[:, None]


class Angles(Table):
    """Angles of rotary positions, in radians."""

    def more(self, known: Tensor, rows: int) -> Tensor:
        angles = rotary_angles(self.positions(known, rows), known.size(2), self.settings["base"])
        return angles.expand(known.size(0), -1, -1)


class Sinusoids(Table):
    """Sinusoids of the position, as fairseq has them, plus what a block adds to them."""

    def more(self, known: Tensor, rows: int) -> Tensor:
        offset, size = self.settings["offset"], known.size(2)
        of_block = known[:, :1] - sinusoids(known.new_full((1,), offset), size)
        return sinusoids(self.positions(known, rows) + offset, size) + of_block


class Fourier(Table):
    """A network over learned Fourier features of the position."""

    frequencies: Tensor
    weight: Tensor
    bias: Tensor
    output: Tensor

    def more(self, known: Tensor, rows: int) -> Tensor:
        angles = self.positions(known, rows)[:, None] * self.frequencies.double()
        features = torch.cat([angles.cos(), angles.sin()], dim=1).to(known)
        return F.gelu(F.linear(features, self.weight, self.bias)) @ self.output


class Recurrent(Table):
    """States of a recurrent cell that is fed the position, or its sinusoids."""

    def more(self, known: Tensor, rows: int) -> Tensor:
        before = torch.arange(known.size(1) - 1, rows - 1, device=known.device).double()
        fed = before[:, None].to(known)
        if self.settings["fed"] == "vector":
            fed = sinusoids(before, known.size(2)).to(known)
        states = [known[:, -1]]
        for number in range(len(before)):
            state = states[-1]
            for layer in range(self.settings["layers"]):
                inputs = torch.cat([state, fed[number].expand(len(state), -1)], dim=1)
                weight, bias = getattr(self, f"weight{layer}"), getattr(self, f"bias{layer}")
                state = F.linear(inputs, weight, bias).tanh()
            states.append(state)
        return torch.stack(states[1:], dim=1)


class Trajectory(Table):
    """FLOATER: states p of dp/dt = h(t, p), read as they are, or as a departure from a peer."""

    readout: Tensor
    slopes: Tensor

    def forward(self, length: int) -> Tensor:
        states, start = super().forward(length), self.settings["start"]
        if start is None:
            return states
        positions = torch.arange(length, dtype=torch.float64, device=states.device)
        with torch.autocast(states.device.type, enabled=False):
            departed = states @ self.readout.to(states).t()
        if start == "angles":
            pairs = self.settings["pairs"]
            angles = rotary_angles(positions, pairs, self.settings["base"])
            return departed + angles.repeat(1, departed.size(2) // pairs).to(departed)
        return departed - (positions[:, None] * self.slopes.double()).to(departed)


class Stepwise(Trajectory):
    """h is a perceptron, solved by a Runge-Kutta method with fixed steps."""

    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor

    def more(self, known: Tensor, rows: int) -> Tensor:
        delta, stride = self.settings["delta"], self.settings["stride"]
        first = (known.size(1) - 1) // stride * stride  # the last node of the grid
        nodes, states = [first], [known[:, first]]
        while nodes[-1] < rows - 1:
            states.append(self.step(nodes[-1] * delta, states[-1], stride * delta))
            nodes.append(nodes[-1] + stride)
        if stride == 1:
            return torch.stack(states[1:], dim=1)
        slopes = [self.h(node * delta, state) for node, state in zip(nodes, states)]
        found = []
        for position in range(known.size(1), rows):
            node, place = divmod(position - first, stride)
            ends = [states[node], slopes[node]]
            ends += [states[node + 1], slopes[node + 1]] if place else ends
            found.append(between(place / stride, stride * delta, *ends))
        return torch.stack(found, dim=1)

    def step(self, time: float, state: Tensor, size: float) -> Tensor:
        """Return the state ``size`` later."""
        parts = self.settings["steps"]
        for part in range(parts):
            at = time + part * size / parts
            state = state + size / parts * self.slope(at, state, size / parts)
        return state

    def slope(self, time: float, state: Tensor, step: float) -> Tensor:
        """Return the mean slope of a step."""
        slopes: List[Tensor] = []
        mean = torch.zeros_like(state)
        for row, at in zip(self.settings["a"], self.settings["c"]):
            moved = state
            for weight, slope in zip(row, slopes):
                moved = moved + step * weight * slope
            slopes.append(self.h(time + at * step, moved))
        for weight, slope in zip(self.settings["b"], slopes):
            mean = mean + weight * slope
        return mean

    def h(self, time: float, state: Tensor) -> Tensor:
        times = state.new_full((len(state), 1), time)
        hidden = F.linear(torch.cat([state, times], dim=1), self.weight1, self.bias1)
        hidden = ACTIVATIONS[self.settings["activation"]](hidden)
        slope = F.linear(torch.cat([hidden, times], dim=1), self.weight2, self.bias2)
        return slope - self.settings["damping"] * state


def between(share: float, size: float, p: Tensor, dp: Tensor, q: Tensor, dq: Tensor) -> Tensor:
    """A cubic from p to q with slopes dp and dq, at ``share`` of ``size`` after p (Hermite)."""
    left, right = (1 - share) ** 2, share**2
    of_p = left * ((1 + 2 * share) * p + share * size * dp)
    return of_p + right * ((3 - 2 * share) * q + (share - 1) * size * dq)


class Rotating(Trajectory):
    """h turns each pair of coordinates at a learned speed: any state is known directly."""

    coordinates: Tensor
    rates: Tensor
    basis: Tensor

    def more(self, known: Tensor, rows: int) -> Tensor:
        times = self.positions(known, rows) * self.settings["delta"]
        angles = times[:, None] * self.rates.double()
        return self.turned(self.coordinates, angles) @ self.basis.t()

    @staticmethod
    def turned(coordinates: Tensor, angles: Tensor) -> Tensor:
        """``coordinates`` (tracks, size) turned by ``angles`` (..., positions, pairs)."""
        angles = torch.remainder(angles, 2 * math.pi).to(coordinates)
        cosine, sine, pairs = angles.cos(), angles.sin(), angles.size(-1)
        x, y = coordinates[:, None, : 2 * pairs].unflatten(2, (pairs, 2)).unbind(3)
        turned = torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=3).flatten(2)
        rest = coordinates[:, None, 2 * pairs :].expand(-1, turned.size(1), -1)
        return torch.cat([turned, rest], dim=2)


class Driven(Rotating):
    """As ``Rotating``, but a network over the free rotation changes the speeds."""

    weight: Tensor
    bias: Tensor
    drive: Tensor

    def more(self, known: Tensor, rows: int) -> Tensor:
        delta = self.settings["delta"]
        last = torch.arange(known.size(1) - 1, rows - 1, dtype=torch.float64, device=known.device)
        nodes, weights = (part.to(known.device) for part in GAUSS)
        inner = ((last[:, None] + nodes) * delta).flatten()
        free = self.turned(self.coordinates, inner[:, None] * self.rates.double())
        hidden = F.linear(free, self.weight, self.bias).tanh()
        excess = self.rates * F.linear(hidden, self.drive).tanh()
        ahead = (excess.unflatten(1, (-1, len(nodes))).double() * weights[:, None]).sum(2).cumsum(1)
        turns = (last + 1 - last[0])[:, None] * self.rates.double() + ahead
        return self.turned(known[:, -1] @ self.basis, turns * delta) @ self.basis.t()


class Shaw(Table):
    """Vectors by clipped distance: always all of them, whatever the length."""

    def forward(self, length: int) -> Tensor:
        return self.stored


class Fire(Table):
    """Scores of pairs of tokens, from a small network over their distance relative to the later.

    There is a network for each direction, for all blocks or block by block; likewise c and L.
    """

    c: Tensor
    length: Tensor
    weight1: Tensor
    bias1: Tensor
    weight2: Tensor
    bias2: Tensor

    def pairs(self, queries: Tensor, keys: Tensor, block: int) -> Tensor:
        """Return (..., heads, queries, keys) for tokens at (..., queries) and (..., keys)."""
        directions = self.settings["directions"]
        c, length = self.c[block], self.length[block]
        q, k = queries.float().unsqueeze(-1), keys.float().unsqueeze(-2)
        with torch.autocast(q.device.type, enabled=False):
            later = torch.maximum(torch.maximum(q, k), length.to(q).abs())
            near, far = (torch.log1p((c.to(q) * x).abs()) for x in ((q - k).abs(), later))
            share = (near / far).unsqueeze(-1)
            scores = self.network(block * directions, share)
            if directions == 2:
                after = self.network(block * directions + 1, share)
                scores = torch.where((k > q).unsqueeze(-1), after, scores)
        return scores.movedim(-1, -3)

    def network(self, number: int, x: Tensor) -> Tensor:
        weights = (self.weight1, self.bias1, self.weight2, self.bias2)
        weight1, bias1, weight2, bias2 = (each[number].to(x) for each in weights)
        return F.linear(F.linear(x, weight1, bias1).relu(), weight2, bias2)


def rotary_angles(positions: Tensor, pairs: int, base: float) -> Tensor:
    """(positions,) to (positions, pairs) in radians, in float64, without whole turns."""
    pair = torch.arange(pairs, dtype=torch.float64, device=positions.device)
    angles = positions[:, None] * base ** (-pair / pairs)
    return angles - 2 * math.pi * (angles / (2 * math.pi)).round()


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """(positions,) to (positions, size): sines in the first half, cosines in the second."""
    half = size // 2
    steps = torch.arange(half, dtype=torch.float, device=positions.device)
    rates = torch.exp(steps * -(math.log(10000) / max(half - 1, 1)))
    angles = positions.float()[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, size % 2))


KINDS: Dict[str, Type[Table]] = {
    "learned": Ending,
    "relative-bias": Lasting,
    "alibi": Proportional,
    "rotary": Angles,
    "sinusoidal": Sinusoids,
    "fourier": Fourier,
    "rnn": Recurrent,
    "mlp": Stepwise,
    "linear": Rotating,
    "driven": Driven,
    "shaw": Shaw,
    "fire": Fire,
}


def build_table(settings: Dict[str, Any]) -> Table:
    """Build the table that ``settings`` describe."""
    return KINDS[settings["kind"]](settings)
