"""``--criterion answer_span``: where in a passage the answer begins and ends."""

import math
from typing import Any, Dict, Sequence, Tuple

from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor, nn
from torch.nn import functional as F

#: the head of a model that says so
SPAN_HEAD = "span"


def span_logits(model: nn.Module, sample: Dict[str, Any]) -> Tensor:
    """Of a batch of windows, that the answer begins, and that it ends, at each place.

    Returns:
        (batch, 2, length) float32; -inf where none can.
    """
    logits, _ = model(
        **sample["net_input"], features_only=True, classification_head_name=SPAN_HEAD
    )  # (batch, length, 2)
    outside = ~sample["in_passage"].unsqueeze(1)
    return logits.transpose(1, 2).float().masked_fill(outside, -math.inf)


@register_criterion("answer_span", dataclass=FairseqDataclass)
class AnswerSpan(FairseqCriterion):
    """Cross-entropy of both ends over the passage and ``<s>`` (Devlin et al. 2019, section 4.2)."""

    def forward(
        self, model: nn.Module, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """The mean of both ends' losses, summed over the batch; the number of windows; the log."""
        logits, answer = span_logits(model, sample), sample["answer"]  # (batch, 2)
        losses = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="none")
        loss = losses.sum() / 2 if reduce else losses.view_as(answer).mean(dim=1)
        right = (logits.argmax(dim=2) == answer).all(dim=1)
        log = {
            "loss": loss.detach().sum(),
            "nright": right.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": len(answer),
            "sample_size": len(answer),
        }
        return loss, len(answer), log

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Dict[str, Any]]) -> None:
        """The loss in bits, and how many of 100 windows have both ends right."""
        windows = sum(log.get("sample_size", 0) for log in logging_outputs)
        loss = sum(log.get("loss", 0) for log in logging_outputs)
        metrics.log_scalar("loss", loss / windows / math.log(2), windows, round=3)
        if all("nright" in log for log in logging_outputs):
            right = sum(log["nright"] for log in logging_outputs)
            metrics.log_scalar("accuracy", 100.0 * right / windows, windows, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
