"""``--criterion multiple_choice``: which of several options is right."""

from typing import Any, Dict, Tuple

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.criterions.one_right import OneRight
from fairseq_floater.errors import UserError

#: the head of a model that scores an option, named as in fairseq's sentence_ranking
OPTION_HEAD = "sentence_classification_head"


def option_logits(model: nn.Module, sample: Dict[str, Any]) -> Tensor:
    """Return (questions, options) float32 for a batch whose rows are the options of questions.

    All options take one pass, so that trajectories are solved once.
    """
    logits, _ = model(
        **sample["net_input"], features_only=True, classification_head_name=OPTION_HEAD
    )  # (questions * options, 1)
    return logits.view(sample["nsentences"], -1).float()


@register_criterion("multiple_choice", dataclass=FairseqDataclass)
class MultipleChoice(OneRight):
    """Cross-entropy over the options, as in fairseq's ``sentence_ranking``."""

    def forward(
        self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """Return the loss, summed over the batch; the number of questions; the log.

        Raises:
            UserError: if the questions have no answers.
        """
        if "target" not in sample:
            raise UserError("these questions have no answers to learn: train on others")
        logits, target = option_logits(model, sample), sample["target"]
        loss = F.cross_entropy(logits, target, reduction="sum")
        return loss, len(target), self.log(loss, logits.argmax(dim=1) == target, sample)
