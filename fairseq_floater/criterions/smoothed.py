"""Label-smoothed cross-entropy of logits, with its gradient, a few rows at a time."""

from typing import Any, Iterator, Tuple

import torch
from torch import Tensor

from fairseq_floater.errors import UserError

#: how many logits are processed at once: on a CPU, those of a few rows, which fit into its cache;
#: on other devices more, since each operation costs a launch there
AT_ONCE_ON_CPU, AT_ONCE = 2**18, 2**27


def smoothed_cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float, padding: int
) -> Tuple[Tensor, Tensor]:
    """Return sums over all rows except padding, as fairseq's ``label_smoothed_nll_loss`` does.

    Only the gradient is written at the size of the logits, no log-probabilities.

    Args:
        logits: ``(rows, words)``, of any precision. Everything is computed in at least float32.
        target: ``(rows,)``, the numbers of the words.
        smoothing: the probability that is spread over the other words.
        padding: rows with this target do not count.

    Returns:
        The loss, with gradient, and the negative log-likelihood, without; scalars in float32 (in
        float64 if the logits are).
    """
    loss, nll = _SmoothedCrossEntropy.apply(logits, target, smoothing, padding)
    return loss, nll


class _SmoothedCrossEntropy(torch.autograd.Function):
    """With p the softmax of a row's logits z, V words and e = smoothing / (V - 1)::

    loss     = (1 - smoothing - e) (-log p[target]) + e sum(-log p)
    dloss/dz = p - e - (1 - smoothing - e) [word is target]
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, smoothing: float, padding: int
    ) -> Tuple[Tensor, Tensor]:
        words, pads = logits.size(1), target.eq(padding)  # (rows,)
        precise = torch.promote_types(logits.dtype, torch.float32)
        normaliser, at_target, total = logits.new_empty((3, len(logits)), dtype=precise)
        for rows in _parts(logits):
            part = logits[rows].to(precise)  # (some rows, words)
            normaliser[rows] = torch.logsumexp(part, -1)
            at_target[rows] = part.gather(1, target[rows, None]).squeeze(1)
            total[rows] = part.sum(-1)
        nll = (normaliser - at_target).masked_fill_(pads, 0).sum()
        of_all = (words * normaliser - total).masked_fill_(pads, 0).sum()
        others = smoothing / (words - 1)
        ctx.save_for_backward(logits, target, pads, normaliser)
        ctx.others, ctx.at_target = others, 1 - smoothing - others
        ctx.mark_non_differentiable(nll)
        return ctx.at_target * nll + others * of_all, nll

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor, _: Tensor) -> Tuple[Tensor, None, None, None]:
        # As with create_graph. (torch's once_differentiable refuses backward(), not autograd.grad.)
        if torch.is_grad_enabled():
            raise UserError(
                "floater_cross_entropy has no second derivatives: use fairseq's "
                "label_smoothed_cross_entropy, or leave out create_graph"
            )
        logits, target, pads, normaliser = ctx.saved_tensors
        scale = loss_grad.to(normaliser.dtype).expand_as(normaliser).masked_fill(pads, 0)  # (rows,)
        at_target = -ctx.at_target * scale
        logits_grad = torch.empty_like(logits)
        for rows in _parts(logits):
            part = torch.sub(logits[rows], normaliser[rows, None])  # (some rows, words)
            part.exp_().sub_(ctx.others).mul_(scale[rows, None])
            part.scatter_add_(1, target[rows, None], at_target[rows, None])
            logits_grad[rows] = part
        return logits_grad, None, None, None


def _parts(logits: Tensor) -> Iterator[slice]:
    """Yield the rows to process at once."""
    at_once = AT_ONCE_ON_CPU if logits.device.type == "cpu" else AT_ONCE
    size = max(at_once // logits.size(1), 1)
    for start in range(0, len(logits), size):
        yield slice(start, start + size)
