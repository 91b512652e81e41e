"""``--task floater_sentence_prediction``: fairseq's, but batches have sentences of like length.

fairseq's own task only shuffles, and a batch is as long as its longest sentence: on RTE this makes
2.3 times as many tokens as there are.
"""

from pathlib import Path
from typing import Any, Dict, List

from fairseq.criterions import FairseqCriterion
from fairseq.data import BaseWrapperDataset, Dictionary, SortDataset
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_floater.errors import UserError

#: name of the classes' names in a checkpoint's state of the task
LABELS = "labels"


def require_sentences(data: Path, split: str) -> None:
    """Raise a ``UserError`` if a folder has no sentences of this split."""
    if not (data / "input0" / f"{split}.idx").is_file():
        raise UserError(f"{data} has no {split}: choose a split in its input0")


@register_task("floater_sentence_prediction", dataclass=SentencePredictionConfig)
class FloaterSentencePredictionTask(SentencePredictionTask):
    """Predict classes or scores of sentences or pairs; batches are shuffled, not their content.

    Raises:
        UserError: if there is no such data set, a label is not among the classes, or a model of
            this task had other classes, or had them in another order.
    """

    def __init__(self, cfg: Any, data_dictionary: Dictionary, label_dictionary: Dictionary):
        super().__init__(cfg, data_dictionary, label_dictionary)
        if not cfg.regression_target:
            self.state.merge_state_dict({LABELS: self._labels()})

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Take over the state of a trained model, for data with the labels of its training."""
        here, there = self._labels(), state_dict.get(LABELS)
        if LABELS in self.state.state_dict and isinstance(there, list) and there != here:
            names = (", ".join(map(str, labels)) for labels in (here, there))
            raise UserError(
                "{} has the labels {}, but the training had {}, in this order: give "
                "fairseq-preprocess the label/dict.txt of the training as --srcdict".format(
                    self.cfg.data, *names
                )
            )
        super().load_state_dict(state_dict)

    def _labels(self) -> List[str]:
        """Return the names of the classes, in their order."""
        names = self.label_dictionary.symbols[self.label_dictionary.nspecial :]
        return list(names[: self.cfg.num_classes])

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> BaseWrapperDataset:
        require_sentences(Path(self.cfg.data), split)
        dataset = super().load_dataset(split, combine, **kwargs)
        rows = dataset.dataset if isinstance(dataset, SortDataset) else dataset
        self._require_known_labels(split, rows)
        if isinstance(dataset, SortDataset):
            # The last key counts most: by length, and in shuffled order where that is equal.
            dataset = SortDataset(rows, sort_order=[*dataset.sort_order, rows.sizes[0]])
        self.datasets[split] = dataset
        return dataset

    @staticmethod
    def logging_outputs_can_be_summed(criterion: FairseqCriterion) -> bool:
        """False for lists of predictions, which F1 and correlations need; fairseq says True."""
        return not criterion.keep_pred_and_targ

    def _require_known_labels(self, split: str, rows: Any) -> None:
        if self.cfg.regression_target or "target" not in rows.defn:
            return
        targets = rows.defn["target"]
        for number in range(len(targets)):
            found, place = targets[number], f"row {number + 1} of {split} in {self.cfg.data}"
            if found.numel() != 1:
                raise UserError(
                    f"{place} has {found.numel()} labels: a label is one word, so put "
                    "underscores for its spaces and prepare the data again"
                )
            if not 0 <= int(found) < self.cfg.num_classes:
                raise UserError(
                    f"{place} has a label that is not among the --num-classes "
                    f"{self.cfg.num_classes} of the training set: prepare the data again"
                )
