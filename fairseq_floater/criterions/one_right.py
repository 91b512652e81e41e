"""Shared parts of criterions whose rows have one right answer each."""

import math
from typing import Any, Dict, Sequence

from fairseq import metrics
from fairseq.criterions import FairseqCriterion
from torch import Tensor


class OneRight(FairseqCriterion):
    """Logs the loss and how many rows are right."""

    def log(self, loss: Tensor, right: Tensor, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Return the log of a batch, given its loss, a sum over rows, and which rows are right."""
        return {
            "loss": loss.detach(),
            "nright": right.sum(),
            "ntokens": sample["ntokens"],
            "nsentences": len(right),
            "sample_size": len(right),
        }

    @classmethod
    def reduce_metrics(cls, logging_outputs: Sequence[Dict[str, Any]]) -> None:
        """Log the loss per row in bits, and the percentage of rows that are right."""
        rows = sum(log.get("sample_size", 0) for log in logging_outputs)
        loss = sum(log.get("loss", 0) for log in logging_outputs)
        right = sum(log.get("nright", 0) for log in logging_outputs)
        metrics.log_scalar("loss", loss / rows / math.log(2), rows, round=3)
        metrics.log_scalar("accuracy", 100.0 * right / rows, rows, round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
