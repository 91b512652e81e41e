"""FLOATER in fairseq's encoder-decoder Transformer."""

from fairseq_floater.transformer import architectures  # noqa: F401  registers the names
from fairseq_floater.transformer.model import FloaterTransformerModel

__all__ = ["FloaterTransformerModel"]
