"""The configuration of ``floater_roberta``: fairseq's options of RoBERTa and the position options.

fairseq declares RoBERTa's options only as flags, and their defaults in a function. Both are read
here, so that one typed dataclass serves the command line, hydra and checkpoints.
"""

import argparse
from argparse import Namespace
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Dict, List, Optional, Tuple

from fairseq.dataclass import FairseqDataclass
from fairseq.models.roberta.model import RobertaModel, base_architecture

from fairseq_floater.encoders.flags import POSITIVE, flag
from fairseq_floater.models.config import POSITION_FIELDS, ModelConfig, kept_as_text
from fairseq_floater.options import PositionOptions


def defaults() -> Dict[str, Any]:
    """Return what fairseq fills in for options of RoBERTa that are not given."""
    args = Namespace()
    base_architecture(args)
    return vars(args)


def _roberta_fields() -> List[Tuple[str, Any, Any]]:
    """(name, type, field) of every flag of fairseq's ``roberta``."""
    parser, filled = argparse.ArgumentParser(add_help=False), defaults()
    RobertaModel.add_args(parser)
    found = []
    for action in parser._actions:
        default = filled.get(action.dest, action.default)
        kind: Any = bool if action.nargs == 0 else action.type or str
        if action.dest == "encoder_layers_to_keep":  # fairseq reads 0,2 in a checkpoint as a list
            kind = List[int]
        declared = kind if default is not None else Optional[kind]
        metadata = {"help": action.help}
        found.append((action.dest, declared, field(default=default, metadata=metadata)))
    return found


_Flags: Any = make_dataclass("_Flags", _roberta_fields(), bases=(FairseqDataclass,))


@dataclass
class FloaterRobertaConfig(ModelConfig, _Flags):
    """All options of ``floater_roberta``."""

    layer_norm_eps: float = flag(
        1e-5,
        "what layer normalisation adds to a variance: 1e-12 in BERT's models, whereas fairseq's "
        "own roberta always has 1e-5",
        range=POSITIVE,
    )

    # Without a type annotation, or else fairseq would take it for an option.
    limits = {"encoder": "max_positions"}

    def as_fairseqs(self) -> Namespace:
        """Return what fairseq's ``roberta`` takes, plus ``position_options``."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_name"}
        positions = {name: given.pop(name) for name in POSITION_FIELDS}
        given["encoder_layers_to_keep"] = kept_as_text(given["encoder_layers_to_keep"])
        if given["max_positions"] is None:
            del given["max_positions"]
        given |= self.input_options()
        args = Namespace(**given)
        base_architecture(args)
        args.position_options = PositionOptions(**positions)
        return args

    def by_name(self) -> Dict[str, Any]:
        theirs = vars(self.as_fairseqs())
        del theirs["position_options"]
        return {**vars(self), **theirs}
