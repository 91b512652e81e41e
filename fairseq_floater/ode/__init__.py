"""The position equation and its solve, without fairseq or tokens."""

from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.solver import solve

__all__ = ["MLPDynamics", "solve"]
