"""Export trained models for those who do not have this plugin.

``stock.py`` makes a checkpoint of fairseq's own ``transformer``, ``program.py`` a program of plain
torch, ``huggingface`` a folder for transformers, ``to_ctranslate2.py`` one for CTranslate2, and
``to_onnx.py`` graphs for ONNX Runtime. Position encodings become tables that are computed once;
those for transformers are continued beyond their last row.
"""

from pathlib import Path
from typing import NamedTuple, NoReturn, Optional

from fairseq_floater.blocks.positioned import UNLIMITED, PositionedStack
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.table_limits import require_room
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig, ModelConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel

#: the longest input in tokens if neither the model nor the user sets it; also fairseq's default
DEFAULT_POSITIONS = 1024

#: the length of the inputs with which graphs and programs are traced, in tokens
TRACED = 5


class Lengths(NamedTuple):
    """The longest source and target that an exported model takes, in tokens."""

    source: int
    target: int

    @classmethod
    def of(cls, model: FloaterTransformerModel, asked: Optional[int] = None) -> "Lengths":
        """Return the lengths that are ``asked`` for; by default those of learned tables, or 1,024.

        Raises:
            UserError: if a learned table has fewer rows than are asked for.
        """
        source = min(length_of(model.encoder, asked), model.decoder.source_limit())
        return cls(source, length_of(model.decoder, asked))


def require_traceable(lengths: Lengths) -> None:
    """Raise a ``UserError`` for a model that takes only shorter inputs than it is traced with."""
    if min(lengths) < TRACED:
        raise UserError(
            f"inputs of {min(lengths)} tokens would be the longest, but the program is traced with "
            f"{TRACED}: ask for at least --positions {TRACED}, or export --to huggingface"
        )


def length_of(stack: PositionedStack, asked: Optional[int]) -> int:
    """Return how many positions a stack's tables get; if none are ``asked`` for, all, or 1,024.

    Raises:
        UserError: if a learned table has fewer rows than are asked for, or tables would be
            too large.
    """
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


def require_whole_positions(checkpoint: Path, config: ModelConfig) -> None:
    """Raise a ``UserError`` if tokens do not stand at whole positions, as rows of a table do."""
    if config.timed:
        raise UserError(
            f"{checkpoint} cannot be exported: its --position-times {config.position_times} puts "
            "tokens between the rows of a table; use it in fairseq, with the plugin"
        )


#: the options that a model cannot be exported with, and what they do
_REFUSED = {
    "adaptive_softmax_cutoff": "gives no logits of the whole vocabulary",
    "encoder_xformers_att_config": "is not torch's own attention",
    "decoder_xformers_att_config": "is not torch's own attention",
    "cross_self_attention": "reads source and target together",
    "no_cross_attention": "does not read the source",
    "quant_noise_pq": "puts a layer after its words",
}


def refuse(checkpoint: Path, reason: str) -> NoReturn:
    """Raise a ``UserError`` with the reason, which begins with what of the model it is about."""
    raise UserError(
        f"{checkpoint} cannot be exported: its {reason}; use it in fairseq, with the plugin"
    )


def require_without(checkpoint: Path, config: ModelConfig, *names: str) -> None:
    """Refuse a model that has one of the options ``names``.

    Raises:
        UserError: naming the option and what it does.
    """
    for name in names:
        if getattr(config, name):
            refuse(checkpoint, f"{flag_name(name)} {_REFUSED[name]}")


def require_plain_blocks(
    checkpoint: Path, config: FloaterTransformerConfig, model: FloaterTransformerModel
) -> None:
    """Refuse a model that engines for Transformers have no place for.

    Raises:
        UserError: naming the option and what it does.
    """
    require_whole_positions(checkpoint, config)
    if not (len(model.encoder.layers) and len(model.decoder.layers)):
        refuse(checkpoint, "encoder or decoder has no blocks")
    if model.decoder.project_in_dim is not None or model.decoder.project_out_dim is not None:
        refuse(
            checkpoint,
            "--decoder-input-dim or --decoder-output-dim is not the width of its blocks",
        )
    require_without(checkpoint, config, *_REFUSED)
