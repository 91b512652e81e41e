"""FLOATER in fairseq's encoder-decoder Transformer."""

from fairseq_floater.models import architectures  # noqa: F401  registers the names
from fairseq_floater.models.floater_transformer import FloaterTransformerModel

__all__ = ["FloaterTransformerModel"]
