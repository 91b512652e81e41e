"""Named architectures: fairseq's except for the positions; ``_tiny`` and ``_minilm`` are ours."""

from typing import Any, Callable, Dict, Tuple, Type

from fairseq.models import ARCH_CONFIG_REGISTRY, register_model_architecture
from fairseq.models.roberta import model as roberta
from fairseq.models.transformer import transformer_legacy as stock

import fairseq_floater.models.floater_roberta  # noqa: F401  registers the model
import fairseq_floater.models.floater_transformer  # noqa: F401  registers the model
from fairseq_floater.models.changed_defaults import settle_unsaid
from fairseq_floater.models.config import FloaterTransformerConfig, ModelConfig, validate_model
from fairseq_floater.models.roberta_config import FloaterRobertaConfig


def tiny_architecture(args: Any) -> None:
    """Small enough to train on a CPU: 4+4 blocks, width 128."""
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 128)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 256)
    args.encoder_layers = getattr(args, "encoder_layers", 4)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
    args.decoder_layers = getattr(args, "decoder_layers", 4)
    args.decoder_attention_heads = getattr(args, "decoder_attention_heads", 4)
    stock.base_architecture(args)


def minilm_architecture(args: Any) -> None:
    """The sizes of MiniLM and similar models: 6 blocks, width 384."""
    args.encoder_layers = getattr(args, "encoder_layers", 6)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 384)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 1536)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 12)
    args.layer_norm_eps = getattr(args, "layer_norm_eps", 1e-12)
    roberta.base_architecture(args)


#: by model: the class that checks its options, and the function that fills in each architecture,
#: starting with the model's own
_ARCHITECTURES: Dict[str, Tuple[Type[ModelConfig], Dict[str, Callable[[Any], None]]]] = {
    "floater_transformer": (
        FloaterTransformerConfig,
        {
            "floater_transformer": stock.base_architecture,
            "floater_transformer_tiny": tiny_architecture,
            "floater_transformer_iwslt_de_en": stock.transformer_iwslt_de_en,
            "floater_transformer_wmt_en_de": stock.transformer_wmt_en_de,
            "floater_transformer_wmt_en_de_big": stock.transformer_wmt_en_de_big,
            "floater_transformer_vaswani_wmt_en_de_big": stock.transformer_vaswani_wmt_en_de_big,
            "floater_transformer_vaswani_wmt_en_fr_big": stock.transformer_vaswani_wmt_en_fr_big,
        },
    ),
    "floater_roberta": (
        FloaterRobertaConfig,
        {
            "floater_roberta": roberta.base_architecture,
            "floater_roberta_base": roberta.roberta_base_architecture,
            "floater_roberta_large": roberta.roberta_large_architecture,
            "floater_roberta_minilm": minilm_architecture,
        },
    ),
}


def _checked(
    architecture: Callable[[Any], None], config: Type[ModelConfig]
) -> Callable[[Any], None]:
    """Return a function that fills in the architecture and then refuses bad options."""

    def fill(args: Any) -> None:
        settle_unsaid(args)
        architecture(args)
        validate_model(config.of(args))

    return fill


for _model, (_config, _named) in _ARCHITECTURES.items():
    for _name, _architecture in _named.items():
        if _name == _model:  # ``register_model`` gave it an architecture that fills in nothing
            ARCH_CONFIG_REGISTRY[_name] = _checked(_architecture, _config)
        else:
            register_model_architecture(_model, _name)(_checked(_architecture, _config))
