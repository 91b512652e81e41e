"""Where a fixed-step solve takes its steps, given the times it must report."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Union

import torch
from torch import Tensor

from fairseq_floater.errors import UserError

#: most steps between two positions
MOST_STEPS = 100

#: most positions that one step goes over
MOST_POSITIONS = 4096

StepsPerPosition = Union[int, float, str, Fraction]


def parse_steps_per_position(value: StepsPerPosition) -> Fraction:
    """Return a whole number k (k steps between two positions) or 1/m (one step over m of them).

    Raises:
        UserError: for anything else, k above ``MOST_STEPS``, and m above ``MOST_POSITIONS``.
    """
    try:
        # Fraction("1e3000000") would have millions of digits, where a float is infinite.
        exact = Fraction(float(value) if isinstance(value, str) and "e" in value.lower() else value)
        steps = exact.limit_denominator(MOST_POSITIONS)  # also for rounded numbers such as 0.3333
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        steps = exact = Fraction(0)
    if steps > MOST_STEPS:
        raise UserError(
            f"ode steps per position must be at most {MOST_STEPS}, got {value!r}: the memory that "
            "a solve takes grows with them"
        )
    if 0 < exact < Fraction(1, MOST_POSITIONS):
        raise UserError(
            f"ode steps per position must be at least 1/{MOST_POSITIONS}, got {value!r}: use a "
            "larger value"
        )
    if steps <= 0 or (steps.numerator != 1 and steps.denominator != 1):
        raise UserError(
            f"ode steps per position must be a whole number or 1 over a whole number, got "
            f"{value!r}: use for example 5, 1, 1/2 or 1/4"
        )
    return steps


@dataclass(frozen=True)
class StepGrid:
    """Nodes of the steps, and how the reported times lie between them.

    ``nodes`` (steps + 1,) are float64, in time. With k steps per position, ``substeps`` is k and
    every k-th node is a reported time. With one step over m positions, ``stride`` is m and the
    times between two nodes are interpolated. If necessary, the last step then reaches past the last
    time, at the last spacing, so that at evenly spaced times a value never depends on how many
    times are asked for.
    """

    nodes: Tensor
    times: Tensor
    substeps: int
    stride: int

    @property
    def step_sizes(self) -> Tensor:
        return self.nodes.diff()

    @classmethod
    def build(cls, times: Tensor, steps_per_position: StepsPerPosition) -> "StepGrid":
        """Build the grid for increasing ``times`` (positions,), at least one."""
        steps = parse_steps_per_position(steps_per_position)
        times = times.detach().to("cpu", torch.float64)
        substeps, stride = steps.numerator, steps.denominator
        if stride > 1 and times.numel() > 1:
            missing = -(times.numel() - 1) % stride
            spacing = times[-1] - times[-2]
            extension = times[-1] + spacing * torch.arange(1, missing + 1, dtype=torch.float64)
            return cls(torch.cat([times, extension])[::stride], times, 1, stride)
        fractions = torch.arange(substeps, dtype=torch.float64) / substeps
        inner = times[:-1, None] + times.diff()[:, None] * fractions
        return cls(torch.cat([inner.flatten(), times[-1:]]), times, substeps, stride)
