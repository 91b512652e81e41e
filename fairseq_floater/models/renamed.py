"""Names that weights had in checkpoints of earlier versions, ours and fairseq's."""

import re
from typing import Any, MutableMapping

_NEW_NAMES = (
    # of version 0.1.0, whose only models had these two stacks
    (re.compile(r"^(encoder|decoder)\.positions\."), r"\1.position_encoder."),
    # of fairseq's published RoBERTa
    (re.compile(r"^decoder\.(sentence_encoder|lm_head)\."), r"encoder.\1."),
    (re.compile(r"\.emb_layer_norm\."), ".layernorm_embedding."),
)


def with_new_names(weights: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return ``weights`` under their present names, in the same order, changed in place."""
    renamed = [(new_name(name), weight) for name, weight in weights.items()]
    if any(name not in weights for name, _ in renamed):
        weights.clear()
        weights.update(renamed)
    return weights


def new_name(name: str) -> str:
    """Return the present name of a weight."""
    for old, new in _NEW_NAMES:
        name = old.sub(new, name)
    return name
