"""Tasks that fairseq does not have, or that lack something there."""

from fairseq_floater.tasks.floater_multiple_choice import MultipleChoiceTask
from fairseq_floater.tasks.floater_question_answering import QuestionAnsweringTask
from fairseq_floater.tasks.floater_sentence_prediction import FloaterSentencePredictionTask

__all__ = ["FloaterSentencePredictionTask", "MultipleChoiceTask", "QuestionAnsweringTask"]
