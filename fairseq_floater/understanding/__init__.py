"""Predictions of fine-tuned models: classes, scores and answers, their metrics, and tables."""

from fairseq_floater.understanding.answer_scores import score_answers
from fairseq_floater.understanding.answers import answer
from fairseq_floater.understanding.classes import predict
from fairseq_floater.understanding.metrics import METRICS, measure

__all__ = ["METRICS", "answer", "measure", "predict", "score_answers"]
