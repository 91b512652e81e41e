"""The fairseq models, one file each, and the handling of their options and weights."""

from fairseq_floater.models import architectures  # noqa: F401  registers the names
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.positioned import PositionedModel

__all__ = ["FloaterTransformerConfig", "FloaterTransformerModel", "PositionedModel"]
