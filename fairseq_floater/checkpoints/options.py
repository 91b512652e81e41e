"""The options of the model in a checkpoint, of whatever age, and whether they can be right."""

import argparse
from pathlib import Path
from typing import Any, Dict, Mapping, Union

from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig, to_config, validate
from fairseq_floater.models.size import require_size_of


def model_options(state: Mapping[str, Any]) -> Dict[str, Any]:
    """The model's options in a checkpoint of fairseq's, of any age; empty where there are none."""
    cfg = state.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else state.get("args")
    if isinstance(model, argparse.Namespace):
        return dict(vars(model))
    return dict(model) if isinstance(model, Mapping) else {}


def options_of(checkpoint: Union[Path, str], state: Mapping[str, Any]) -> FloaterTransformerConfig:
    """The options in a checkpoint, of our model or of fairseq's, with defaults for the others.

    Raises:
        UserError: if they are of the wrong type, of no model, or of a far larger model than the
            weights.
    """
    try:
        options = model_options(state)
        config = to_config(options)
        if "position_encoder" in options:
            validate(config)
        require_size_of(config, state["model"])
    except UserError as error:
        raise impossible(checkpoint, error) from None
    return config


def impossible(checkpoint: Union[Path, str], reason: object) -> UserError:
    """What to raise for options that no model was trained with."""
    return UserError(
        f"checkpoint {checkpoint} has options that cannot be right: {reason}; copy it again, or "
        "put an earlier one in its place"
    )
