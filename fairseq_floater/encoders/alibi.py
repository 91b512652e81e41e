"""ALiBi: a penalty on each logit that grows with the distance (Press, Smith and Lewis 2022)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import KindOptions, Wanted
from fairseq_floater.encoders.distances import DistanceEncoder
from fairseq_floater.encoders.flags import flag
from fairseq_floater.errors import UserError

ALIBI_FORMS = ("nonsymmetric", "symmetric", "learned")


@dataclass
class AlibiOptions(KindOptions):
    """The form of ALiBi where tokens also see those after them, which the paper leaves open."""

    alibi_form: str = flag(
        "nonsymmetric",
        "in an encoder, nonsymmetric lets half of the heads see what is before, and half what is "
        "after; symmetric penalises by distance alone, regardless of the direction; learned has "
        "one slope per head and direction, starting symmetric, also in a decoder (alibi)",
        choices=ALIBI_FORMS,
    )


def alibi_slopes(heads: int) -> Tensor:
    """Return the slopes (heads,), float64: s, s^2, ... with s = 2^(-8 / heads) for a power of two.

    Otherwise they are those of the next lower power P, then every second one of those of 2 P, as
    in the authors' code.
    """
    power = 2 ** int(math.log2(heads))
    slopes = 2.0 ** (-8 / power * torch.arange(1, power + 1, dtype=torch.float64))
    if power == heads:
        return slopes
    return torch.cat([slopes, alibi_slopes(2 * power)[::2][: heads - power]])


class AlibiEncoder(DistanceEncoder):
    """Scores of -slope x distance for each head.

    Args:
        tracks, heads, directions, name: see ``DistanceEncoder``.
        form: one of ``ALIBI_FORMS``. Nonsymmetric heads have the slopes of half as many heads.
    """

    kind = "alibi"
    Options = AlibiOptions
    defined_by = ("alibi_form",)

    def __init__(
        self,
        tracks: int,
        heads: int,
        directions: int,
        *,
        form: str = "nonsymmetric",
        name: str = "model",
    ):
        super().__init__(tracks, heads, directions, name)
        self.form = form
        both = directions == 2 and form == "nonsymmetric"
        if both and heads < 2:
            raise UserError(
                f"--alibi-form nonsymmetric needs two heads or more, but {name} has {heads}: "
                "use symmetric or learned"
            )
        #: this many heads, the first ones, see what is before; the others see what is after
        self.looking_back = (heads + 1) // 2 if both else heads
        if form == "learned":  # exp keeps slopes positive
            start = alibi_slopes(heads).log().float().repeat(directions, 1)
            self.log_slopes = nn.Parameter(start)

    @classmethod
    def from_options(cls, options: AlibiOptions, wanted: Wanted) -> "AlibiEncoder":
        return cls(
            wanted.tracks,
            wanted.heads,
            wanted.directions,
            form=options.alibi_form,
            name=wanted.name,
        )

    def slopes(self) -> Tensor:
        """Return the slopes (directions, heads)."""
        if self.form == "learned":
            return self.log_slopes.double().exp()
        back, ahead = self.looking_back, self.dim - self.looking_back  # numbers of heads
        slopes = torch.cat([alibi_slopes(heads) for heads in (back, ahead) if heads])
        return slopes.repeat(self.directions, 1).to(self.anchor.device, non_blocking=True)

    def by_distance(self, distances: Tensor) -> Tensor:
        slopes = self.slopes()
        scores = -slopes.unsqueeze(1) * distances.to(slopes, non_blocking=True)[:, None]
        if self.looking_back < self.dim:
            scores[0, 1:, self.looking_back :] = -math.inf  # a token always sees itself
            scores[1, :, : self.looking_back] = -math.inf
        return scores
