"""Relative position representations: keys and values get vectors by distance (Shaw et al. 2018)."""

from dataclasses import dataclass
from typing import List

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import KindOptions, PositionEncoder, Wanted
from fairseq_floater.encoders.flags import AT_LEAST_ONE, flag
from fairseq_floater.errors import UserError


@dataclass
class ShawOptions(KindOptions):
    """Which distances have vectors, and which parts of attention they are added to."""

    shaw_max_distance: int = flag(
        16,
        "k: distances are told apart up to k, and all beyond share the vector of k (shaw)",
        range=AT_LEAST_ONE,
    )
    shaw_values: bool = flag(
        False,
        "add vectors to the values as well, as in the paper, which finds no gain over keys alone; "
        "attention then cannot use its fused form (shaw)",
    )
    shaw_per_head: bool = flag(
        False, "give each head vectors of its own, in place of shared ones (shaw)"
    )


class ShawEncoder(PositionEncoder):
    """Vectors (tracks, distances, dim) of distances -k..k, or -k..0 if tokens see no later ones.

    A block has one track, for its keys, or two, for keys and values.

    Args:
        tracks, name: see ``PositionEncoder``.
        dim: width of a head, or of all heads together if each has vectors of its own.
        max_distance: k.
        causal: whether there are distances up to 0 only.
        initial_std: standard deviation of the vectors.
    """

    kind = "shaw"
    Options = ShawOptions
    injections = ("relative",)
    defined_by = ("shaw_max_distance",)

    def __init__(
        self,
        tracks: int,
        dim: int,
        max_distance: int = 16,
        *,
        causal: bool = False,
        initial_std: float = 0.0,
        name: str = "model",
    ):
        super().__init__(tracks, dim, name)
        self.max_distance = max_distance
        distances = max_distance + 1 if causal else 2 * max_distance + 1
        self.table = nn.Parameter(initial_std * torch.randn(tracks, distances, dim))

    @classmethod
    def from_options(cls, options: ShawOptions, wanted: Wanted) -> "ShawEncoder":
        return cls(
            wanted.tracks,
            wanted.dim if options.shaw_per_head else wanted.head_dim,
            options.shaw_max_distance,
            causal=wanted.causal,
            # With positions at the input, a new model starts as its base model.
            initial_std=0.0 if wanted.beside_input else wanted.head_dim**-0.5,
            name=wanted.name,
        )

    def first(self, length: int) -> Tensor:
        """Return all vectors, from the most negative distance on, regardless of ``length``."""
        return (self.table.detach() if self.resting else self.table).to(self.dtype)

    def at(self, positions: Tensor) -> Tensor:
        """Raise ``UserError``: its vectors are those of distances, not of positions."""
        raise UserError(
            f"{self.name}: Shaw's vectors are those of distances, and have no positions: call the "
            "encoder with a number"
        )

    def track_parameters(self) -> List[str]:
        return ["table"]

    def output_parameters(self) -> List[str]:
        return ["table"]
