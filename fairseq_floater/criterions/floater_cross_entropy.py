"""``--criterion floater_cross_entropy``: fairseq's label-smoothed one, in one pass."""

from typing import Any, Dict, Optional, Tuple

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.models import FairseqDecoder
from torch import Tensor, nn

from fairseq_floater.criterions.smoothed import smoothed_cross_entropy


@register_criterion("floater_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class FloaterCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """Used in place of ``label_smoothed_cross_entropy``: same options, value and gradient.

    It needs less memory: only the logits and their gradient are written at the size (tokens,
    words). It is as fast if the allocator keeps its pages, as in ``recipes``, and faster if it does
    not.

    Models whose log-probabilities are not the log-softmax of what they return, as with
    ``--adaptive-softmax-cutoff``, are left to fairseq's own computation.
    """

    def compute_loss(
        self, model: nn.Module, net_output: Any, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, Tensor]:
        """Return loss and negative log-likelihood: sums over the target's tokens, scalars."""
        logits = _logits(model, net_output) if reduce else None
        if logits is None:
            return super().compute_loss(model, net_output, sample, reduce)
        target, words = sample["target"], logits.size(-1)  # (batch, length)
        if self.ignore_prefix_size > 0:
            target = target.clone()
            target[:, : self.ignore_prefix_size] = self.padding_idx
        return smoothed_cross_entropy(
            logits.view(-1, words), target.view(-1), self.eps, self.padding_idx
        )


def _logits(model: nn.Module, net_output: Any) -> Optional[Tensor]:
    """Return the logits, (batch, length, words), if the model takes their log-softmax."""
    decoder = getattr(model, "decoder", None)
    usual = FairseqDecoder.get_normalized_probs_scriptable
    if getattr(type(decoder), "get_normalized_probs_scriptable", None) is not usual:
        return None
    if getattr(decoder, "adaptive_softmax", None) is not None:
        return None
    logits: Tensor = net_output[0]
    return logits
