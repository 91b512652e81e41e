"""Score answers as the evaluation scripts of SQuAD 1.1 and 2.0 do.

This is written from their rules: those of 2.0 if some questions have no answer, otherwise those of
1.1. A test compares it with torchmetrics, and with figures worked out by hand.
"""

import re
import string
from collections import Counter
from statistics import mean
from typing import Callable, Collection, Dict, Mapping, Optional, Sequence

from fairseq_floater.data import Question
from fairseq_floater.errors import UserError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Lower the case and remove punctuation, articles and extra spaces, in this order."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, answer: str) -> float:
    """Return 1 if both are the same when normalised, otherwise 0."""
    return float(normalised(prediction) == normalised(answer))


def f1(prediction: str, answer: str) -> float:
    """Return the harmonic mean of words' precision and recall; 1 if both are empty, 0 if one is."""
    found, wanted = normalised(prediction).split(), normalised(answer).split()
    if not found or not wanted:
        return float(found == wanted)
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted))


def _f1_of_words(prediction: str, answer: str) -> float:
    """Return F1 as in SQuAD 1.1's script, where two empty answers have nothing in common."""
    return f1(prediction, answer) if normalised(answer) else 0.0


def score_answers(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    odds: Optional[Mapping[str, float]] = None,
    null_threshold: Optional[float] = None,
) -> Dict[str, float]:
    """Return exact match and F1, times 100, each the best over a question's answers.

    ``total`` is the number of questions that these are means over. If some questions have no
    answer, there are also the scores of those that have one (``HasAns_``) and those that have none
    (``NoAns_``), and, with ``odds``, ``best_exact`` and ``best_f1``, which the best threshold would
    give, and those thresholds. A missing prediction is left out if some questions have no answer,
    as in SQuAD 2.0's script; otherwise it counts as 0, as in SQuAD 1.1's. ``missing`` says how many
    there are.

    Args:
        questions: the questions with their answers.
        predictions: by id; empty for no answer.
        odds: by id, how much better giving no answer is than the prediction.
        null_threshold: predictions with larger odds count as no answer; the best thresholds are
            searched for without it.

    Raises:
        UserError: if no question has a prediction, or one has no odds where they are needed.
    """
    answered = [question for question in questions if question.id in predictions]
    if not answered:
        raise UserError(
            f"none of the {len(questions):,} questions has a prediction: give those for this file"
        )
    unanswerable = {question.id for question in questions if not question.answers}
    if null_threshold is not None or (odds is not None and unanswerable):
        _require_odds(odds or {}, answered)
    unsaid = {
        id for id, by in (odds or {}).items() if null_threshold is not None and by > null_threshold
    }
    found: Dict[str, float] = {}
    for name, measure in (("exact", exact), ("f1", f1 if unanswerable else _f1_of_words)):
        said = {
            question.id: _of_question(question, predictions.get(question.id), measure, unanswerable)
            for question in (answered if unanswerable else questions)
        }
        scores = {id: float(id in unanswerable) if id in unsaid else said[id] for id in said}
        found[name] = 100 * mean(scores.values())
        for kind, wanted in (("HasAns", False), ("NoAns", True)):
            of_kind = [score for id, score in scores.items() if (id in unanswerable) is wanted]
            if unanswerable and of_kind:
                found[f"{kind}_{name}"] = 100 * mean(of_kind)
        if unanswerable and odds is not None:
            found |= _best_threshold(name, said, predictions, odds, unanswerable)
    found["total"] = len(said)
    found["missing"] = len(questions) - len(answered)
    return found


def _require_odds(odds: Mapping[str, float], answered: Sequence[Question]) -> None:
    without = [question.id for question in answered if question.id not in odds]
    if without:
        raise UserError(
            f"{len(without):,} predictions have no odds of no answer, the first for question "
            f"{without[0]}: give the null_odds.json that was written with them"
        )


def _of_question(
    question: Question,
    prediction: Optional[str],
    measure: Callable[[str, str], float],
    unanswerable: Collection[str],
) -> float:
    """Return the best over its answers; 2.0's script leaves out those that normalise to nothing."""
    if prediction is None:
        return 0.0
    wanted = [a.text for a in question.answers if not unanswerable or normalised(a.text)]
    return max(measure(prediction, answer) for answer in wanted or [""])


def _best_threshold(
    name: str,
    scores: Mapping[str, float],
    predictions: Mapping[str, str],
    odds: Mapping[str, float],
    unanswerable: Collection[str],
) -> Dict[str, float]:
    """Return the best score, and its threshold, if questions are answered only up to some odds.

    Starting from none, questions are answered by rising odds. Only questions with a prediction
    count; the script of 2.0 also starts with unanswerable questions that have none.
    """
    total = best = float(sum(id in unanswerable for id in scores))
    threshold = 0.0
    for id in sorted(scores, key=odds.__getitem__):
        if id not in unanswerable:
            total += scores[id]
        elif predictions[id]:
            total -= 1
        if total > best:
            best, threshold = total, odds[id]
    return {f"best_{name}": 100 * best / len(scores), f"best_{name}_thresh": threshold}
