"""Cubic Hermite interpolation between two states whose slopes are also known."""

from torch import Tensor


def hermite(
    fraction: Tensor,
    first: Tensor,
    first_slope: Tensor,
    second: Tensor,
    second_slope: Tensor,
) -> Tensor:
    """Evaluate the cubic with the states and slopes of both ends (Hairer et al. 1993, II.6).

    Args:
        fraction: how far between the ends, from 0 to 1; broadcasts with the states.
        first, second: states at the two ends.
        first_slope, second_slope: slopes there, per length of the stretch: slopes per unit of
            time must be multiplied by the time between the ends.

    Returns:
        The states between, of the broadcast shape. The error is of fourth order in the length.
    """
    x = fraction
    return (
        (1 + 2 * x) * (1 - x) ** 2 * first
        + x * (1 - x) ** 2 * first_slope
        + x**2 * (3 - 2 * x) * second
        + x**2 * (x - 1) * second_slope
    )
