"""Names that weights had in checkpoints of earlier versions."""

import re
from typing import Any, MutableMapping

#: of version 0.1.0, whose only models had these two stacks
_OLD = re.compile(r"^(encoder|decoder)\.positions\.")


def with_new_names(weights: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """``weights`` under their present names, in their order; the same mapping, changed in place."""
    if any(_OLD.search(name) for name in weights):
        renamed = [(new_name(name), weight) for name, weight in weights.items()]
        weights.clear()
        weights.update(renamed)
    return weights


def new_name(name: str) -> str:
    """The present name of a weight."""
    return _OLD.sub(r"\1.position_encoder.", name)
