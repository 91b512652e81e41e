"""A head that says for every token whether an answer begins or ends there."""

from typing import Dict

from torch import Tensor, nn

#: standard deviation of the initial weights of BERT, including its heads
BERT_STD = 0.02


def build_span_head(dim: int) -> nn.Linear:
    """Build a head from (batch, length, dim) to (batch, length, 2).

    It is that of BERT for SQuAD (Devlin et al. 2019, 4.2).
    """
    head = nn.Linear(dim, 2)
    nn.init.normal_(head.weight, std=BERT_STD)
    nn.init.zeros_(head.bias)
    return head


def without_span_head(state: Dict[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    """Remove the weights of such a head from ``state`` and return them.

    fairseq takes every head for one of its own, which has two projections.
    """
    own = [name for name in state if name.startswith(prefix)]
    return {name: state.pop(name) for name in own}
