"""Criterions: what a training minimises."""

from fairseq_floater.criterions.floater_cross_entropy import FloaterCrossEntropy

__all__ = ["FloaterCrossEntropy"]
