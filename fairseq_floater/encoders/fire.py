"""FIRE: a small network of the distance relative to the position (Li et al. 2024).

The paper's score of query i and key j <= i is f(psi(i - j) / psi(max(L, i))) with psi(x) =
log(c x + 1). For encoders, where keys come after queries, too, it has no form. Ours has one f for
each direction, and the later of the two tokens in place of i, which before a query is the same.
"""

from dataclasses import dataclass
from typing import Any, List

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import NoOptions, Wanted
from fairseq_floater.encoders.distances import DistanceEncoder
from fairseq_floater.encoders.flags import AT_LEAST_ONE, POSITIVE, flag


@dataclass
class FireOptions(NoOptions):
    """The network and what it starts from."""

    fire_hidden_dim: int = flag(32, "hidden size of the network (fire)", range=AT_LEAST_ONE)
    fire_length: float = flag(
        512.0,
        "L at the start, in positions: up to there scores depend on the distance alone (fire)",
        range=POSITIVE,
    )


class FireEncoder(DistanceEncoder):
    """Scores of pairs of tokens, by a network for each direction; shared by all blocks.

    Args:
        tracks, heads, directions, name: see ``DistanceEncoder``.
        hidden_dim: of the network.
        length: L at the start.
        vanishing: start with scores of 0.
    """

    kind = "fire"
    Options = FireOptions
    by_pair = True
    defined_by = ("fire_length",)  # the parameter is a factor on it

    def __init__(
        self,
        tracks: int,
        heads: int,
        directions: int,
        *,
        hidden_dim: int = 32,
        length: float = 512.0,
        vanishing: bool = False,
        name: str = "model",
    ):
        super().__init__(tracks, heads, directions, name)
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(1, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, heads))
            for _ in range(directions)
        )
        self.c = nn.Parameter(torch.tensor(0.1))
        self.length = length
        self.length_factor = nn.Parameter(torch.tensor(1.0))
        if vanishing:
            state = self.state_dict()  # of the parameters themselves
            for name in state:
                if name.startswith(tuple(self.output_parameters())):
                    nn.init.zeros_(state[name])

    @classmethod
    def from_options(cls, options: FireOptions, wanted: Wanted) -> "FireEncoder":
        return cls(
            wanted.tracks,
            wanted.heads,
            wanted.directions,
            hidden_dim=options.fire_hidden_dim,
            length=options.fire_length,
            vanishing=wanted.beside_input,
            name=wanted.name,
        )

    def pairs(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores (..., queries, keys, heads) of tokens at positions (..., queries), (..., keys)."""
        q = queries.to(self.anchor.device, self.dtype, non_blocking=True).unsqueeze(-1)
        k = keys.to(self.anchor.device, self.dtype, non_blocking=True).unsqueeze(-2)
        with torch.autocast(q.device.type, enabled=False):
            nearest = (self.length_factor.to(q) * self.length).abs()
            later = torch.maximum(torch.maximum(q, k), nearest)
            share = (self._psi((q - k).abs()) / self._psi(later)).unsqueeze(-1)
            scores = self._network(0, share)
            if self.directions == 2:
                scores = torch.where((k > q).unsqueeze(-1), self._network(1, share), scores)
        return scores

    def _psi(self, x: Tensor) -> Tensor:
        return torch.log1p((self.c.to(x) * x).abs())

    def _network(self, direction: int, x: Tensor) -> Tensor:
        network: Any = self.networks[direction]  # nn.ModuleList does not tell what it holds
        first, last = network[0], network[2]
        hidden = torch.relu(nn.functional.linear(x, first.weight.to(x), first.bias.to(x)))
        return nn.functional.linear(hidden, last.weight.to(x), last.bias.to(x))

    def by_distance(self, distances: Tensor) -> Tensor:
        """Of tokens no later than L."""
        origin = torch.zeros(1)
        before = self.pairs(distances, origin)[:, 0]
        after = [] if self.directions == 1 else [self.pairs(origin, distances)[0]]
        return torch.stack([before, *after])

    def output_parameters(self) -> List[str]:
        return [f"networks.{direction}.2." for direction in range(self.directions)]
