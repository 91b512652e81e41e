"""Exact match and F1 against torchmetrics, and against values by hand."""

import random

import pytest
from pretrained import LINES

from fairseq_floater.data import Answer, Question
from fairseq_floater.errors import UserError
from fairseq_floater.understanding.answer_scores import normalised, score_answers

WORDS = sorted(set(" ".join(LINES[:2]).split()))


def test_normalised_in_the_order_of_the_scripts():
    """Punctuation is removed before articles, so ``a.n`` becomes an article and is removed too."""
    assert normalised("The  Dog's, AN apple; a.n") == "dogs apple"
    assert normalised("the") == normalised("...") == ""


def test_scores_are_those_of_torchmetrics():
    """All questions have answers; some predictions are wrong, and some are close."""
    from torchmetrics.text import SQuAD  # slow to import

    generator, metric = random.Random(0), SQuAD()
    questions, predictions = [], {}
    for number in range(200):
        answers = [
            " ".join(generator.choices([*WORDS, "The", "a", "fox,"], k=generator.randint(1, 4)))
            for _ in range(generator.randint(1, 3))
        ]
        # For answers that normalise to nothing, torchmetrics follows 2.0's rules in 1.1 as well.
        answers = [answer for answer in answers if normalised(answer)] or ["dog"]
        prediction = " ".join(generator.choices([*WORDS, "the"], k=generator.randint(1, 4)))
        prediction = generator.choice([prediction, answers[-1].upper() + "."])
        given = tuple(Answer(text, 0) for text in answers)
        questions.append(Question(str(number), "?", 0, given))
        predictions[str(number)] = prediction
        metric.update(
            [{"id": str(number), "prediction_text": prediction}],
            [{"id": str(number), "answers": {"text": answers, "answer_start": [0] * len(answers)}}],
        )
    wanted, found = metric.compute(), score_answers(questions, predictions)
    assert found["exact"] == pytest.approx(float(wanted["exact_match"]), abs=1e-4)
    assert found["f1"] == pytest.approx(float(wanted["f1"]), abs=1e-4)
    assert 20 < found["exact"] < found["f1"] < 90


def test_scores_of_questions_with_and_without_answers_by_hand():
    """By SQuAD 2.0's rules: two of four questions have an answer; a fifth has no prediction."""
    given = [("a", "the brown fox"), ("b", "dogs"), ("c", None), ("d", None), ("e", "fox")]
    questions = [
        Question(id, "?", 0, () if text is None else (Answer(text, 0),)) for id, text in given
    ]
    predictions = {"a": "brown dog", "b": "", "c": "", "d": "dog"}
    odds = {"a": -3.0, "b": 2.0, "c": -5.0, "d": 1.0}
    found = score_answers(questions, predictions, odds)
    assert found["total"] == 4  # e is left out
    assert found["exact"] == pytest.approx(25.0) and found["NoAns_exact"] == pytest.approx(50.0)
    assert found["HasAns_f1"] == pytest.approx(25.0) and found["HasAns_exact"] == 0.0
    assert found["f1"] == pytest.approx((50 + 0 + 100 + 0) / 4)
    assert found["missing"] == 1
    # With nothing answered, c and d are right. Then answers count one by one: c (an empty one: +0),
    # a (+0.5), d (-1), b (+0).
    assert found["best_f1"] == pytest.approx(62.5) and found["best_f1_thresh"] == -3.0
    assert found["best_exact"] == pytest.approx(50.0) and found["best_exact_thresh"] == 0.0
    # Predictions count up to the threshold, and at it.
    at = score_answers(questions, predictions, odds, null_threshold=-3.0)
    assert at["f1"] == pytest.approx(62.5)
    # With this threshold, b and d count as not answered; the best scores stay the same.
    at = score_answers(questions, predictions, odds, null_threshold=0.5)
    assert at["f1"] == pytest.approx(62.5) and at["NoAns_f1"] == pytest.approx(100.0)
    assert {name: at[name] for name in at if "best" in name} == {
        name: found[name] for name in found if "best" in name
    }
    with pytest.raises(UserError, match="1 predictions have no odds .* the first for question d"):
        score_answers(questions, predictions, {"a": -3.0, "b": 2.0, "c": -5.0})
    answerable = [question for question in questions if question.answers]
    found = score_answers(answerable, predictions)
    assert found["total"] == 3 and found["f1"] == pytest.approx(50 / 3)  # e counts as 0
    nothing = [Question("f", "?", 0, (Answer("The", 0), Answer("a fox", 0)))]
    found = score_answers(nothing, {"f": "a"})  # by the rules of 1.1, which know no empty answer
    assert found["exact"] == 100.0 and found["f1"] == 0.0
    found = score_answers([*nothing, questions[2]], {"f": "a", "c": ""})
    assert found["HasAns_exact"] == found["HasAns_f1"] == 0.0  # by those of 2.0
    with pytest.raises(UserError, match="none of the 5 questions has a prediction"):
        score_answers(questions, {"z": "fox"})
