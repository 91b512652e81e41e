"""``--task floater_question_answering``: answers as stretches of passages, as in SQuAD.

fairseq has no such task. The data is the unchanged files of SQuAD, named after their split, such as
train.json. Texts are cut into pieces when they are loaded, so that every answer can be written as
it stands in its passage.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.tasks import register_task
from omegaconf import MISSING

from fairseq_floater.data import QuestionWindows, read_squad
from fairseq_floater.encoders.flags import AT_LEAST_ONE, flag
from fairseq_floater.errors import UserError
from fairseq_floater.tasks.with_tokenizer import TaskWithTokenizer, TokenizerOptions

logger = logging.getLogger(__name__)


@dataclass
class QuestionAnsweringConfig(TokenizerOptions):
    """Options of the task."""

    data: str = flag(MISSING, "folder with SPLIT.json, dict.txt and tokenizer.json")
    max_positions: int = flag(
        512, "longest input that the model can be given, in pieces", range=AT_LEAST_ONE
    )
    window_length: Optional[int] = flag(
        None, "longest window, in pieces; default: --max-positions", range=AT_LEAST_ONE
    )
    window_step: int = flag(
        128,
        "from the beginning of a window to that of the next, in pieces of the passage",
        range=AT_LEAST_ONE,
    )
    max_question_length: int = flag(
        64, "how many pieces of a question are kept, from its start", range=AT_LEAST_ONE
    )


@register_task("floater_question_answering", dataclass=QuestionAnsweringConfig)
class QuestionAnsweringTask(TaskWithTokenizer):
    """Find answers in windows of passages behind questions, with ``--criterion answer_span``.

    Raises:
        UserError: also if the windows would leave something out.
    """

    Options = QuestionAnsweringConfig
    prepared_by = "data-prep/squad.sh"

    def __init__(self, cfg: Any, dictionary: Dictionary):
        super().__init__(cfg, dictionary)
        self.longest = cfg.window_length or cfg.max_positions
        if self.longest > cfg.max_positions:
            raise UserError(
                f"--window-length {self.longest} is beyond --max-positions {cfg.max_positions}: "
                "lower the former or raise the latter"
            )
        room = self.longest - cfg.max_question_length - self.layout.special
        if cfg.window_step > room:
            raise UserError(
                f"--window-step {cfg.window_step} would leave pieces of passages out: besides "
                f"{cfg.max_question_length} of a question and {self.layout.special} special ones, "
                f"windows of {self.longest} have room for {max(room, 0)}: lower it"
            )

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> QuestionWindows:
        squad, cfg = read_squad(Path(self.cfg.data) / f"{split}.json"), self.cfg
        windows = QuestionWindows(
            squad,
            self.tokenizer,
            self.layout,
            self.longest,
            cfg.window_step,
            cfg.max_question_length,
        )
        logger.info(
            f"{split}: {len(squad.questions):,} questions about {len(squad.passages):,} passages, "
            f"in {len(windows):,} windows; {windows.cut:,} questions are cut at their end"
        )
        self.datasets[split] = windows
        return windows

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        model = super().build_model(cfg, from_checkpoint)
        if not hasattr(model, "register_span_head"):
            raise UserError(
                f"--arch {cfg._name} says nothing about where an answer is: choose floater_roberta "
                "or another of its kind"
            )
        model.register_span_head()
        return model
