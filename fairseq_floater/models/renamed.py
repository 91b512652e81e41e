"""Names that weights had in checkpoints of earlier versions."""

import re
from typing import Any, MutableMapping

#: as a part of a weight's name
RENAMED = {"positions": "position_encoder"}

_OLD = re.compile(rf"(?<=\.)({'|'.join(RENAMED)})(?=\.)")


def with_new_names(weights: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``weights`` under their present names, in their order; the same mapping, changed in place."""
    if any(_OLD.search(name) for name in weights):
        renamed = [(new_name(name), weight) for name, weight in weights.items()]
        weights.clear()
        weights.update(renamed)
    return weights


def new_name(name: str) -> str:
    """The present name of a weight."""
    return _OLD.sub(lambda found: RENAMED[found[1]], name)
