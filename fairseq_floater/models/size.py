"""The least size of a model with given options, known before memory is taken for it."""

from typing import Mapping

from torch import Tensor

from fairseq_floater.blocks.positioned import kept_layers
from fairseq_floater.encoders.learned import LearnedEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import ModelConfig
from fairseq_floater.models.description import positions_of

#: parameters, 64 MB, up to which no options are refused
SMALL = 2**24

#: options of a size that no parameter has: a distance from which all are in one bucket
WITHOUT_PARAMETERS = ("relative_max_distance",)


def require_size_of(config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse options that describe a model far larger than the weights that come with them.

    Raises:
        UserError: saying how many parameters there would be, and how many there are.
    """
    there = sum(weight.numel() for weight in weights.values())
    least = least_parameters(config)
    if least > 4 * there + SMALL:
        raise UserError(
            f"its options are those of a model with more than {least:,} parameters, but it holds "
            f"{there:,}"
        )


def least_parameters(config: ModelConfig) -> int:
    """Return a lower bound on the number of parameters of a model with these options.

    Word embeddings are left out, since options do not say how many words there are. Sizes of which
    there is at least one vector or number each are counted once.

    Args:
        config: valid options.
    """
    read = config.read_by_kind()
    tables = issubclass(config.encoder_class, LearnedEncoder)
    total = sum(
        size
        for name, size in read.items()
        if isinstance(size, int) and size > SMALL and name not in WITHOUT_PARAMETERS
    )
    for stack in config.sides:
        attentions = 2 if stack == "decoder" else 1
        width, inner = _size(config, f"{stack}_embed_dim"), _size(config, f"{stack}_ffn_embed_dim")
        blocks = len(kept_layers(getattr(config, f"{stack}_layers_to_keep")))
        blocks = blocks or _size(config, f"{stack}_layers")
        total += blocks * width * (4 * attentions * width + 2 * inner)
        if "dynamics_hidden_dim" in read:
            state = read.get("position_state_dim", width)
            total += max(0, read["dynamics_hidden_dim"] or state) * state
        if tables or positions_of(config.by_name(), stack).at_input == "learned":
            total += width * max(0, getattr(config, config.limits[stack]) or 0)
    return total + _size(config, "decoder_output_dim") + _size(config, "decoder_input_dim")


def _size(config: ModelConfig, name: str) -> int:
    return max(0, int(getattr(config, name, 0)))
