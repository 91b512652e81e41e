"""What a model says of sentences: its classes and scores, what they are worth, and tables."""

from fairseq_floater.labels.metrics import METRICS, measure
from fairseq_floater.labels.predict import predict
from fairseq_floater.labels.run import score_labels

__all__ = ["METRICS", "measure", "predict", "score_labels"]
