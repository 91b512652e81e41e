"""Criterions: what a training minimises."""

from fairseq_floater.criterions.answer_span import AnswerSpan
from fairseq_floater.criterions.floater_cross_entropy import FloaterCrossEntropy
from fairseq_floater.criterions.multiple_choice import MultipleChoice

__all__ = ["AnswerSpan", "FloaterCrossEntropy", "MultipleChoice"]
