"""The answers that a fine-tuned model gives to the questions of a file."""

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fairseq_floater.criterions.answer_span import span_logits
from fairseq_floater.data import QuestionWindows
from fairseq_floater.errors import UserError
from fairseq_floater.files import write_text
from fairseq_floater.understanding.fine_tuned import FineTuned, task_of


class Candidate(NamedTuple):
    """A stretch of a passage: its score as an answer, and its characters, end excluded."""

    score: float
    begin: int
    end: int


class Asked:
    """What the windows of one question say.

    Attributes:
        candidates: the best of each window.
        nothing: the score of no answer, the least over all windows; one with the answer gives it.
    """

    def __init__(self) -> None:
        self.candidates: List[Candidate] = []
        self.nothing = math.inf

    def best(self, number: int) -> List[Candidate]:
        """Return the best candidates, best first; of a stretch in two windows, the better one.

        One without characters is left out: a piece may be a space, which belongs to no answer.
        """
        by_place: Dict[Tuple[int, int], Candidate] = {}
        for found in sorted(self.candidates):
            if found.begin < found.end:
                by_place[found.begin, found.end] = found
        return sorted(by_place.values(), reverse=True)[:number]


def answer(
    checkpoint: Path,
    data: Path,
    subset: str,
    out: Path,
    null_threshold: Optional[float] = None,
    longest: int = 30,
    best: int = 20,
    max_tokens: int = 4096,
    window_length: Optional[int] = None,
    window_step: Optional[int] = None,
) -> Dict[str, str]:
    """Write answers in the files that the script of SQuAD 2.0 takes, and what they are chosen from.

    ``out``/predictions.json has the answers by question id. null_odds.json has how much better
    giving no answer is than the best answer, and nbest.json has the best answers to each question,
    with their scores and their probabilities among each other.

    Args:
        checkpoint: a checkpoint of a training with ``--task floater_question_answering``.
        data: folder as for that training, with ``subset``.json.
        subset: such as ``valid``.
        out: folder to write.
        null_threshold: the prediction is empty if giving no answer is better by more than this;
            None if every question has an answer.
        longest: the longest answer, in pieces.
        best: how many answers are kept.
        max_tokens: the most tokens in a batch.
        window_length: longest window, in pieces; that of the training if None. If the model's own
            table of positions is shorter, its last row is repeated.
        window_step: from a window to the next, in pieces; that of the training if None.

    Raises:
        UserError: if the checkpoint is of another task, or there is no such subset.
    """
    trained = task_of(checkpoint)
    if trained["_name"] != "floater_question_answering":
        raise UserError(
            f"{checkpoint} is of --task {trained['_name']}, which has no answers: give one of "
            "--task floater_question_answering"
        )
    tuned = FineTuned.load(checkpoint, data, _with_windows(trained, window_length, window_step))
    windows = tuned.task.load_dataset(subset)
    asked: Dict[str, Asked] = {question.id: Asked() for question in windows.squad.questions}
    for sample in tuned.batches(subset, max_tokens):
        with torch.no_grad():
            logits = span_logits(tuned.model, sample).log_softmax(dim=2)
        for index, nothing, spans in best_spans(sample, logits, longest, best):
            of_question = asked[windows.question(index).id]
            of_question.nothing = min(of_question.nothing, nothing)
            for score, first, last in spans:
                ends = windows.characters(index, first, last)
                of_question.candidates.append(Candidate(score, *ends))
    return _write(out, windows, asked, null_threshold, best)


def _with_windows(
    trained: Mapping[str, Any], length: Optional[int], step: Optional[int]
) -> Dict[str, Any]:
    """Return the options of task and model that give windows other than those of the training."""
    options: Dict[str, Any] = {} if step is None else {"window_step": step}
    if length is not None:
        positions = max(length, trained["max_positions"])
        options |= {"window_length": length, "max_positions": positions}
        options["extend_base_positions"] = True
    return options


def best_spans(
    sample: Dict[str, Any], logits: Tensor, longest: int, best: int
) -> Iterator[Tuple[int, float, List[Tuple[float, int, int]]]]:
    """Yield for each window of a batch its number, the score of no answer, and the best answers.

    Args:
        sample: the batch.
        logits: (batch, 2, length), log-probabilities of beginning and of ending at a place.
        longest, best: see ``answer``.

    Yields:
        The best answers are (score, first place, last place), best first.
    """
    begin, end = logits.unbind(dim=1)  # (batch, length)
    nothing = begin[:, 0] + end[:, 0]
    begin = begin.index_fill(1, torch.zeros(1, dtype=torch.long, device=begin.device), -math.inf)
    ends = F.pad(end, (0, longest - 1), value=-math.inf).unfold(1, longest, 1)
    sums = (begin.unsqueeze(2) + ends).flatten(1)  # (batch, length * longest)
    scores, order = sums.topk(min(best, sums.size(1)), dim=1)
    for row, index in enumerate(sample["id"].tolist()):
        places = [
            (score, *divmod(o, longest))
            for score, o in zip(scores[row].tolist(), order[row].tolist())
        ]
        spans = [(score, first, first + more) for score, first, more in places if score > -math.inf]
        yield index, float(nothing[row]), spans


def _write(
    out: Path,
    windows: QuestionWindows,
    asked: Dict[str, Asked],
    null_threshold: Optional[float],
    best: int,
) -> Dict[str, str]:
    predictions: Dict[str, str] = {}
    odds: Dict[str, float] = {}
    listed: Dict[str, List[Dict[str, Any]]] = {}
    for question in windows.squad.questions:
        passage, found = windows.squad.passages[question.passage], asked[question.id]
        kept = found.best(best)  # none if the passage has no pieces
        probabilities = torch.tensor([candidate.score for candidate in kept]).softmax(dim=0)
        odds[question.id] = found.nothing - kept[0].score if kept else 0.0
        listed[question.id] = [
            {"text": passage[c.begin : c.end], "score": c.score, "probability": float(p)}
            for c, p in zip(kept, probabilities)
        ]
        unsaid = null_threshold is not None and odds[question.id] > null_threshold
        predictions[question.id] = "" if unsaid or not kept else listed[question.id][0]["text"]
    for name, content in (("predictions", predictions), ("null_odds", odds), ("nbest", listed)):
        write_text(out / f"{name}.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return predictions
