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
    """A stretch of a passage: how good an answer it is, and its characters, end excluded."""

    score: float
    begin: int
    end: int


class Asked:
    """What the windows of one question say.

    Attributes:
        candidates: the best of each window.
        nothing: the score of no answer, the least of all windows': one that has the answer knows.
    """

    def __init__(self) -> None:
        self.candidates: List[Candidate] = []
        self.nothing = math.inf

    def best(self, number: int) -> List[Candidate]:
        """Of stretches that two windows have, the better of both; the best first."""
        by_place: Dict[Tuple[int, int], Candidate] = {}
        for found in sorted(self.candidates):
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

    ``out``/predictions.json has the answers by the ids of the questions, null_odds.json by how much
    no answer is better than the best, and nbest.json for each question the best answers with their
    scores and their probabilities among them.

    Args:
        checkpoint: of a training of ``--task floater_question_answering``.
        data: folder as for that training, with ``subset``.json.
        subset: such as ``valid``.
        out: folder to write.
        null_threshold: where no answer is better by more than this, it is the prediction, empty;
            None where every question has an answer.
        longest: answer, in pieces.
        best: how many answers are kept.
        max_tokens: of a batch.
        window_length: longest window, in pieces; that of the training if None. Where the model's
            own table of positions ends before, its last row goes on.
        window_step: from a window to the next, in pieces; that of the training if None.

    Raises:
        UserError: if the checkpoint is of another task, or there is no such subset.
    """
    trained = task_of(checkpoint)
    if trained["_name"] != "floater_question_answering":
        raise UserError(f"{checkpoint} is of --task {trained['_name']}, which has no answers")
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
    """The options of a task and a model with these windows, where they are not as trained."""
    options: Dict[str, Any] = {} if step is None else {"window_step": step}
    if length is not None:
        positions = max(length, trained["max_positions"])
        options |= {"window_length": length, "max_positions": positions}
        options["extend_base_positions"] = True
    return options


def best_spans(
    sample: Dict[str, Any], logits: Tensor, longest: int, best: int
) -> Iterator[Tuple[int, float, List[Tuple[float, int, int]]]]:
    """Of each window in a batch: its number, the score of no answer, and the best answers.

    Args:
        sample: the batch.
        logits: (batch, 2, length), log-probabilities of beginning and of ending at a place.
        longest, best: see ``answer``.

    Yields:
        As last, (score, first place, last place), the best first.
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
        kept = found.best(best)  # nothing where the passage has no piece
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
