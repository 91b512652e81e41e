"""Named architectures: each but ``_tiny`` is fairseq's of that name but for the positions."""

from typing import Any, Callable

from fairseq.models import ARCH_CONFIG_REGISTRY, register_model_architecture
from fairseq.models.transformer import transformer_legacy as stock

import fairseq_floater.models.floater_transformer  # noqa: F401  registers the model
from fairseq_floater.models.config import to_config, validate


def tiny_architecture(args: Any) -> None:
    """Small enough to train on a CPU: 4+4 blocks, width 128."""
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 128)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 256)
    args.encoder_layers = getattr(args, "encoder_layers", 4)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
    args.decoder_layers = getattr(args, "decoder_layers", 4)
    args.decoder_attention_heads = getattr(args, "decoder_attention_heads", 4)
    stock.base_architecture(args)


_ARCHITECTURES = {
    "floater_transformer_tiny": tiny_architecture,
    "floater_transformer_iwslt_de_en": stock.transformer_iwslt_de_en,
    "floater_transformer_wmt_en_de": stock.transformer_wmt_en_de,
    "floater_transformer_wmt_en_de_big": stock.transformer_wmt_en_de_big,
    "floater_transformer_vaswani_wmt_en_de_big": stock.transformer_vaswani_wmt_en_de_big,
    "floater_transformer_vaswani_wmt_en_fr_big": stock.transformer_vaswani_wmt_en_fr_big,
}


def _checked(architecture: Callable[[Any], None]) -> Callable[[Any], None]:
    """Fill in the architecture, then refuse bad options before any work is done."""

    def fill(args: Any) -> None:
        architecture(args)
        validate(to_config(args))

    return fill


# ``register_model`` gave the model's own name an architecture that fills in nothing.
ARCH_CONFIG_REGISTRY["floater_transformer"] = _checked(stock.base_architecture)
for _name, _architecture in _ARCHITECTURES.items():
    register_model_architecture("floater_transformer", _name)(_checked(_architecture))
