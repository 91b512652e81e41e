"""FIRE: a small network of the distance relative to the position (Li et al. 2024).

The paper's score of query i and key j <= i is f(psi(i - j) / psi(max(L, i))) with psi(x) =
log(c x + 1). It has no form for encoders, where keys also come after queries. Ours has one f for
each direction, and the later of the two tokens in place of i, which is the same for earlier keys.
"""

from dataclasses import dataclass
from typing import List

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import KindOptions, Wanted
from fairseq_floater.encoders.distances import DistanceEncoder
from fairseq_floater.encoders.flags import AT_LEAST_ONE, Range, flag
from fairseq_floater.ode.layers import Linear


@dataclass
class FireOptions(KindOptions):
    """The network and what it starts from."""

    fire_hidden_dim: int = flag(32, "hidden size of the network (fire)", range=AT_LEAST_ONE)
    fire_length: float = flag(
        512.0,
        "L at the start, in positions, up to which scores depend on the distance alone (fire)",
        range=Range(">= 1e-6", lambda length: 1e-6 <= length < float("inf")),
    )
    fire_per_block: bool = flag(
        False, "give each block a network, c and L of its own, not one for all blocks (fire)"
    )


class FireEncoder(DistanceEncoder):
    """Scores of pairs of tokens, by a network for each direction.

    All blocks have the same networks, or each block has its own. ``networks`` then lists those of
    the first block's directions, followed by the next block's.

    Args:
        tracks, heads, directions, name: see ``DistanceEncoder``.
        hidden_dim: hidden size of a network.
        length: L at the start.
        per_block: whether each block has networks, c and L of its own.
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
        per_block: bool = False,
        vanishing: bool = False,
        name: str = "model",
    ):
        super().__init__(tracks, heads, directions, name)
        self.networks = nn.ModuleList(
            nn.Sequential(Linear(1, hidden_dim), nn.ReLU(), Linear(hidden_dim, heads))
            for _ in range(tracks if per_block else directions)
        )
        blocks = (tracks // directions,) if per_block else ()
        self.c = nn.Parameter(torch.full(blocks, 0.1))
        self.length = length
        self.length_factor = nn.Parameter(torch.ones(blocks))
        if vanishing:
            self.load_state_dict(self._vanishing_state())

    @classmethod
    def from_options(cls, options: FireOptions, wanted: Wanted) -> "FireEncoder":
        return cls(
            wanted.tracks,
            wanted.heads,
            wanted.directions,
            hidden_dim=options.fire_hidden_dim,
            length=options.fire_length,
            per_block=options.fire_per_block,
            vanishing=wanted.beside_input,
            name=wanted.name,
        )

    @property
    def sets(self) -> int:
        return len(self.networks) // self.directions

    def pairs(self, queries: Tensor, keys: Tensor, block: int = 0) -> Tensor:
        c, factor = self.c.view(-1)[block], self.length_factor.view(-1)[block]
        q = queries.to(self.anchor.device, self.dtype, non_blocking=True).unsqueeze(-1)
        k = keys.to(self.anchor.device, self.dtype, non_blocking=True).unsqueeze(-2)
        with self.computing():
            nearest = (factor.to(q) * self.length).abs()
            later = torch.maximum(torch.maximum(q, k), nearest)
            share = (_psi(c, (q - k).abs()) / _psi(c, later)).unsqueeze(-1)
            scores = self.networks[block * self.directions](share)
            if self.directions == 2:
                after = self.networks[block * self.directions + 1](share)
                scores = torch.where((k > q).unsqueeze(-1), after, scores)
        return scores

    def by_distance(self, distances: Tensor) -> Tensor:
        """Return scores of tokens no later than L, (sets x directions, distances, heads)."""
        origin, found = torch.zeros(1), []
        for block in range(self.sets):
            found.append(self.pairs(distances, origin, block)[:, 0])
            if self.directions == 2:
                found.append(self.pairs(origin, distances, block)[0])
        return torch.stack(found)

    def output_parameters(self) -> List[str]:
        return [f"networks.{number}.2." for number in range(len(self.networks))]


def _psi(c: Tensor, x: Tensor) -> Tensor:
    return torch.log1p((c.to(x) * x).abs())
