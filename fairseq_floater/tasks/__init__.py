"""Tasks of fairseq's with what they lack."""

from fairseq_floater.tasks.floater_sentence_prediction import FloaterSentencePredictionTask

__all__ = ["FloaterSentencePredictionTask"]
