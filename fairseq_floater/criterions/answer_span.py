"""``--criterion answer_span``: where in a passage the answer begins and ends."""

import math
from typing import Any, Dict, Tuple

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_floater.criterions.one_right import OneRight

#: the head of a model that predicts where an answer begins and ends
SPAN_HEAD = "span"


def span_logits(model: nn.Module, sample: Dict[str, Any]) -> Tensor:
    """Return logits, for a batch of windows, that the answer begins and ends at each place.

    Returns:
        (batch, 2, length) float32, the beginning first; -inf where no answer can be.
    """
    logits, _ = model(
        **sample["net_input"], features_only=True, classification_head_name=SPAN_HEAD
    )  # (batch, length, 2)
    outside = ~sample["in_passage"].unsqueeze(1)
    return logits.transpose(1, 2).float().masked_fill(outside, -math.inf)


@register_criterion("answer_span", dataclass=FairseqDataclass)
class AnswerSpan(OneRight):
    """Cross-entropy of both ends over the passage and ``<s>`` (Devlin et al. 2019, section 4.2).

    A window is right if both ends are.
    """

    def forward(
        self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """Return the ends' mean loss, summed over the batch; the number of windows; the log."""
        logits, answer = span_logits(model, sample), sample["answer"]  # (batch, 2)
        loss = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="sum") / 2
        right = (logits.argmax(dim=2) == answer).all(dim=1)
        return loss, len(answer), self.log(loss, right, sample)
