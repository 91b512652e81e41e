"""What answers are worth, as the evaluation scripts of SQuAD 1.1 and 2.0 count it.

Written from their rules; a test compares it with torchmetrics, and with figures worked by hand.
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
    """Lower case, without punctuation, articles and spaces too many, in this order."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, answer: str) -> float:
    """1 if they are the same when normalised, else 0."""
    return float(normalised(prediction) == normalised(answer))


def f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall of words; of nothing, whether both are nothing."""
    found, wanted = normalised(prediction).split(), normalised(answer).split()
    if not found or not wanted:
        return float(found == wanted)
    common = (Counter(found) & Counter(wanted)).total()
    return 2 * common / (len(found) + len(wanted))


def score_answers(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    odds: Optional[Mapping[str, float]] = None,
) -> Dict[str, float]:
    """Exact match and F1, times 100, each the best over a question's answers, and their number.

    Where some questions have no answer, also apart for those that have one (``HasAns_``) and those
    that have none (``NoAns_``), and, with ``odds``, ``best_exact`` and ``best_f1``, which the best
    threshold would give, and those thresholds. A prediction that is missing is then left out, as in
    SQuAD 2.0's script, and counts 0 elsewhere, as in SQuAD 1.1's.

    Args:
        questions: with their answers.
        predictions: by id; empty for no answer.
        odds: by id, how much no answer is better than the prediction.

    Raises:
        UserError: if no question has a prediction.
    """
    answered = [question for question in questions if question.id in predictions]
    if not answered:
        raise UserError(
            f"none of the {len(questions):,} questions has a prediction: give those of this file"
        )
    unanswerable = {question.id for question in questions if not question.answers}
    counted = answered if unanswerable else questions
    by_measure = {
        name: {q.id: _of_question(q, predictions.get(q.id), measure) for q in counted}
        for name, measure in (("exact", exact), ("f1", f1))
    }
    found: Dict[str, float] = {}
    for name, scores in by_measure.items():
        found[name] = 100 * mean(scores.values())
        if not unanswerable:
            continue
        for kind, wanted in (("HasAns", False), ("NoAns", True)):
            of_kind = [score for id, score in scores.items() if (id in unanswerable) is wanted]
            if of_kind:
                found[f"{kind}_{name}"] = 100 * mean(of_kind)
    found["total"] = len(counted)
    if odds is not None and unanswerable:
        for name, scores in by_measure.items():
            found |= _best_threshold(name, scores, predictions, odds, unanswerable)
    return found


def _of_question(
    question: Question, prediction: Optional[str], measure: Callable[[str, str], float]
) -> float:
    if prediction is None:
        return 0.0
    wanted = [a.text for a in question.answers if normalised(a.text)] or [""]
    return max(measure(prediction, answer) for answer in wanted)


def _best_threshold(
    name: str,
    scores: Mapping[str, float],
    predictions: Mapping[str, str],
    odds: Mapping[str, float],
    unanswerable: Collection[str],
) -> Dict[str, float]:
    """What is best if questions are answered up to some odds: from none on, by rising odds."""
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
