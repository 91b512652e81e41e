"""``--task floater_sentence_prediction``: fairseq's, but batches have sentences of like length.

fairseq's own task only shuffles, and a batch is as long as its longest sentence: on RTE this makes
2.3 times as many tokens as there are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.criterions import FairseqCriterion
from fairseq.data import BaseWrapperDataset, SortDataset
from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_floater.errors import UserError


@dataclass
class FloaterSentencePredictionConfig(SentencePredictionConfig):
    """Options of the task: fairseq's own."""


@register_task("floater_sentence_prediction", dataclass=FloaterSentencePredictionConfig)
class FloaterSentencePredictionTask(SentencePredictionTask):
    """Predict classes or scores of sentences or pairs; batches are shuffled, not their content.

    Raises:
        UserError: if there is no such data set, or a label is not among those of the training.
    """

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> BaseWrapperDataset:
        if not (Path(self.cfg.data) / "input0" / f"{split}.idx").is_file():
            raise UserError(f"{self.cfg.data} has no {split}: choose a split in its input0")
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
            label = int(targets[number])
            if not 0 <= label < self.cfg.num_classes:
                raise UserError(
                    f"row {number + 1} of {split} in {self.cfg.data} has a label that is not among "
                    f"the --num-classes {self.cfg.num_classes} of the training set: prepare the "
                    "data again"
                )
