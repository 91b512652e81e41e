"""The classes or scores that a fine-tuned model gives to every row of a data set."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch

from fairseq_floater.criterions.multiple_choice import option_logits
from fairseq_floater.data import LETTERS
from fairseq_floater.errors import UserError
from fairseq_floater.files import require_other_file, write_text
from fairseq_floater.tasks import MultipleChoiceTask
from fairseq_floater.tasks.floater_sentence_prediction import require_sentences
from fairseq_floater.understanding.fine_tuned import FineTuned, task_of
from fairseq_floater.understanding.metrics import Labelled


def predict(
    checkpoint: Path,
    data: Path,
    subset: str,
    out: Path,
    max_tokens: int = 4096,
    factor: float = 1.0,
    truncate: bool = False,
) -> Labelled:
    """Write a table with the columns index, prediction and, if there are labels, label.

    Without labels, GLUE takes it as a submission. Classes have their names in the label dictionary,
    which must be that of the training; options have letters.

    Args:
        checkpoint: a checkpoint of a model with a classification head.
        data: folder like the one it was trained on.
        subset: such as ``valid``.
        out: file to write.
        max_tokens: the most tokens in a batch.
        factor: factor on scores; 5 for STS-B, whose targets are a fifth of those published.
        truncate: cut sentences where the training's --max-positions end. (Passages with options
            are cut in any case.)

    Raises:
        UserError: if the checkpoint is of another task or of one with other classes, or would be
            overwritten, there is no such subset, or a row is longer than the model's positions.
    """
    require_other_file(out, checkpoint)
    name = str(task_of(checkpoint)["_name"])
    of_sentences = name.endswith("sentence_prediction")
    if not of_sentences and not name.endswith("multiple_choice"):
        raise UserError(
            f"{checkpoint} is of --task {name}, which has no classes: give one of --task "
            "floater_sentence_prediction, sentence_prediction or floater_multiple_choice"
        )
    if of_sentences:
        require_sentences(data, subset)
    # The training may have cut some splits, but what is cut here is only asked for here.
    method = "truncate" if truncate else "none"
    cut = {"shorten_method": method, "shorten_data_split_list": ""} if of_sentences else {}
    tuned = FineTuned.load(checkpoint, data, cut)
    task = tuned.task
    task.load_dataset(subset)
    if of_sentences:
        _require_short(tuned, subset)
    found: List[Tuple[int, str, Optional[str]]] = []
    for sample in tuned.batches(subset, max_tokens):
        with torch.no_grad():
            outputs = _outputs(tuned, sample)
        target = sample.get("target")
        predictions = _texts(task, outputs, factor)
        labels = [None] * len(outputs) if target is None else _texts(task, target, factor)
        found += zip(sample["id"].tolist(), predictions, labels)
    found.sort()
    return _write(out, found)


def _require_short(tuned: FineTuned, subset: str) -> None:
    """Refuse rows for which the model has no positions, before any row is computed."""
    rows, limit = tuned.task.dataset(subset), tuned.model.max_positions()
    for number in range(len(rows)):
        if (size := int(rows.num_tokens(number))) > limit:
            raise UserError(
                f"row {number + 1} of {subset} has {size:,} pieces, but the model has {limit:,} "
                "positions: give --truncate to cut such rows"
            )


def _outputs(tuned: FineTuned, sample: Dict[str, Any]) -> torch.Tensor:
    """Return the class of each row, or its score."""
    model, task = tuned
    if isinstance(task, MultipleChoiceTask):
        return option_logits(model, sample).argmax(dim=1)
    head = task.cfg.classification_head_name
    logits, _ = model(**sample["net_input"], features_only=True, classification_head_name=head)
    if not task.cfg.regression_target:
        return logits.argmax(dim=1)
    if logits.size(1) != 1:
        raise UserError(
            f"this model has {logits.size(1)} scores per row, but a table of predictions has one: "
            "use it in fairseq"
        )
    return logits.view(-1)


def _texts(task: Any, values: torch.Tensor, factor: float) -> List[str]:
    """Return what is written for classes or scores, predicted or in a batch's target."""
    if isinstance(task, MultipleChoiceTask):
        return [LETTERS[number] for number in values.tolist()]
    if task.cfg.regression_target:
        return [f"{factor * score:.7g}" for score in values.view(-1).tolist()]
    dictionary = task.label_dictionary
    return [dictionary[number + dictionary.nspecial] for number in values.view(-1).tolist()]


def _write(out: Path, found: List[Tuple[int, str, Optional[str]]]) -> Labelled:
    labelled = bool(found) and found[0][2] is not None
    lines = ["index\tprediction" + "\tlabel" * labelled]
    lines += ["\t".join(str(part) for part in row[: 2 + labelled]) for row in found]
    write_text(out, "".join(f"{line}\n" for line in lines))
    predictions = [prediction for _, prediction, _ in found]
    return Labelled(predictions, [str(label) for *_, label in found] if labelled else None)


def read_predictions(path: Path) -> Labelled:
    """Read what ``predict`` wrote.

    Raises:
        UserError: if there is no such file, or it is not such a table.
    """
    if not path.is_file():
        raise UserError(f"no predictions at {path}: run floater predict first")
    try:
        lines = path.read_text("utf-8").splitlines() or [""]
    except UnicodeDecodeError:
        lines = [""]  # which is no table either
    header, *rows = (line.split("\t") for line in lines)
    if header[:2] != ["index", "prediction"] or any(len(row) != len(header) for row in rows):
        raise UserError(f"{path} is not a table of floater predict: delete it and predict again")
    labels = [row[2] for row in rows] if header[2:3] == ["label"] else None
    return Labelled([row[1] for row in rows], labels)
