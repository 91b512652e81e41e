"""``--task floater_multiple_choice``: one of several options is right, as in RACE.

Use it in place of fairseq's ``sentence_ranking``, whose criterion passes the options through the
model one after another. Here they are the rows of one batch, and take one pass.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary
from fairseq.tasks import register_task
from omegaconf import MISSING

from fairseq_floater.criterions.multiple_choice import OPTION_HEAD
from fairseq_floater.data import ChoiceRows, read_choices
from fairseq_floater.encoders.flags import AT_LEAST_ONE, flag
from fairseq_floater.errors import UserError
from fairseq_floater.tasks.with_tokenizer import TaskWithTokenizer, TokenizerOptions

logger = logging.getLogger(__name__)


@dataclass
class MultipleChoiceConfig(TokenizerOptions):
    """Options of the task."""

    data: str = flag(MISSING, "folder with SPLIT.jsonl, dict.txt and tokenizer.json")
    max_positions: int = flag(
        512, "longest input, in pieces; a passage is cut at its end to fit", range=AT_LEAST_ONE
    )
    max_option_length: int = flag(
        128, "how many first pieces of a question with its option are kept", range=AT_LEAST_ONE
    )


@register_task("floater_multiple_choice", dataclass=MultipleChoiceConfig)
class MultipleChoiceTask(TaskWithTokenizer):
    """Choose the right option for questions about passages, with ``--criterion multiple_choice``.

    Raises:
        UserError: also if an option could leave no room for its passage.
    """

    Options = MultipleChoiceConfig
    prepared_by = "data-prep/race.sh"

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super().__init__(cfg, dictionary)
        if cfg.max_option_length + self.layout.special >= cfg.max_positions:
            raise UserError(
                f"--max-option-length {cfg.max_option_length} leaves no room for a passage within "
                f"--max-positions {cfg.max_positions}: lower it"
            )

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> ChoiceRows:
        choices, cfg = read_choices(Path(self.cfg.data) / f"{split}.jsonl"), self.cfg
        rows = ChoiceRows(
            choices, self.tokenizer, self.layout, cfg.max_positions, cfg.max_option_length
        )
        logger.info(
            f"{split}: {len(rows):,} questions about {len(choices.passages):,} passages; "
            f"{rows.cut:,} questions have a passage that is cut at its end, and "
            f"{rows.cut_options:,} pairs of question and option are cut as well"
        )
        self.datasets[split] = rows
        return rows

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "register_classification_head"):
            raise UserError(
                f"--arch {cfg._name} has no score for an option: choose floater_roberta or another "
                "of its kind"
            )
        model.register_classification_head(OPTION_HEAD, num_classes=1)
        return model
