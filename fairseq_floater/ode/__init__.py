"""The position equation and its solve, without fairseq or tokens."""

from fairseq_floater.ode.driven import DrivenDynamics
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.ode.equation import Equation
from fairseq_floater.ode.linear import LinearDynamics
from fairseq_floater.ode.solver import solve

__all__ = ["DrivenDynamics", "Equation", "LinearDynamics", "MLPDynamics", "solve"]
