"""Every option that the plugin adds to fairseq: one typed dataclass, checked in one place."""

import argparse
import functools
import logging
from dataclasses import dataclass, fields
from typing import Any, Dict

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass

from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.options import EncoderOptions
from fairseq_floater.errors import UserError
from fairseq_floater.training.levers import LEVERS, LeverOptions

logger = logging.getLogger(__name__)


@dataclass
class PositionOptions(EncoderOptions, LeverOptions, FairseqDataclass):
    """Options of the position encoding; each is a command-line flag of the same name."""

    def in_force(self) -> Dict[str, Any]:
        """The options that this position encoder reads, and their values."""
        levers = LEVERS if self.encoder_class.learns else ()
        return {
            "position_encoder": self.position_encoder,
            **self.where(),
            **self.read_by_kind(),
            **{name: getattr(self, name) for name in levers},
        }

    def validate(self) -> "PositionOptions":
        """Move values from old names, then check every range and combination; return self.

        Raises:
            UserError: naming the flag, its value and the fix.
        """
        take_over_old_names(self)
        self.check()
        self.check_levers()
        if self.levers_in_use() and not self.encoder_class.learns:
            raise UserError(
                f"{self.levers_in_use()[0]} needs a learned position encoder, but "
                f"--position-encoder is {self.position_encoder}: leave it out"
            )
        for name, has, needs in (
            (
                "dynamics_lr_scale",
                self.encoder_class.shared_parameters,
                "parameters that all trajectories share",
            ),
            ("initial_lr_scale", self.has_dynamics, "dynamics"),
        ):
            if getattr(self, name) != 1.0 and not has:
                raise UserError(
                    f"{flag_name(name)} needs {needs}, but --position-encoder is "
                    f"{self.position_encoder}: leave it out"
                )
        return self


def take_over_old_names(options: PositionOptions) -> None:
    """Move the values of old names of options to their new names.

    Raises:
        UserError: if both names of an option are given, with different values.
    """
    defaults = {declared.name: declared.default for declared in fields(options)}
    for declared in fields(options):
        new, value = declared.metadata.get("renamed_to"), getattr(options, declared.name)
        if not new or value == declared.default:
            continue
        if getattr(options, new) not in (defaults[new], value):
            raise UserError(
                f"{flag_name(declared.name)} {value} is the old name of {flag_name(new)}, which "
                f"is {getattr(options, new)}: give only one of them"
            )
        _say_renamed(declared.name, new)
        setattr(options, new, value)
        setattr(options, declared.name, declared.default)


@functools.cache  # once for each name
def _say_renamed(old: str, new: str) -> None:
    logger.warning(f"{flag_name(old)} is now called {flag_name(new)}; the old name still works")


def add_flags(parser: argparse.ArgumentParser, options: FairseqDataclass) -> None:
    """Add a flag for every field of ``options``, without a default, and with its choices if any.

    The defaults are left out so that those of a named architecture or a trained model can apply.
    """
    gen_parser_from_dataclass(parser, options, delete_default=True)
    choices = {f.name: f.metadata.get("choices") for f in fields(options)}
    for action in parser._actions:
        if known := choices.get(action.dest):
            action.choices = list(known)
