"""Show what a trained model has learned about positions, as figures, text and pictures."""

from fairseq_floater.inspection.encoders import (
    count_parameters,
    load_part,
    solver_errors,
)
from fairseq_floater.inspection.findings import Findings, inspect_checkpoint

__all__ = [
    "Findings",
    "count_parameters",
    "inspect_checkpoint",
    "load_part",
    "solver_errors",
]
