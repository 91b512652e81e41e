"""Trained models for those who do not have this plugin.

``stock.py`` makes a checkpoint of fairseq's own ``transformer``, ``program.py`` a program of plain
torch. In both, position encodings are tables of a fixed number of rows, computed once.
"""

from pathlib import Path
from typing import NamedTuple, Optional

from fairseq_floater.blocks.stacks import UNLIMITED, PositionedStack
from fairseq_floater.encoders.room import require_room
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel

#: the longest input where neither the model nor the user says, in tokens; fairseq's default too
DEFAULT_POSITIONS = 1024


class Lengths(NamedTuple):
    """The longest source and target that what was exported takes, in tokens."""

    source: int
    target: int

    @classmethod
    def of(cls, model: FloaterTransformerModel, asked: Optional[int] = None) -> "Lengths":
        """As ``asked``; by default those of the model's learned tables, or 1,024 without.

        Raises:
            UserError: if a learned table has fewer rows than asked.
        """
        return cls(length_of(model.encoder, asked), length_of(model.decoder, asked))


def length_of(stack: PositionedStack, asked: Optional[int]) -> int:
    limit = stack.max_positions()
    if asked is None:
        return DEFAULT_POSITIONS if limit == UNLIMITED else limit
    if asked > limit:
        raise UserError(
            f"--positions is {asked}, but a learned table of this model ends after {limit}: ask "
            "for no more, or leave it out"
        )
    for encoder in (stack.position_encoder, stack.base_encoder):
        if encoder is not None:
            require_room(encoder, asked, f"--positions {asked}")
    return asked


def require_whole_positions(checkpoint: Path, config: FloaterTransformerConfig) -> None:
    """Raise a ``UserError`` where tokens do not stand at whole positions, as rows of a table do."""
    if config.timed:
        raise UserError(
            f"{checkpoint} cannot be exported, its --position-times {config.position_times} puts "
            "tokens between the rows that a table has: use it in fairseq, with the plugin"
        )
