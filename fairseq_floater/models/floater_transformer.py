"""``floater_transformer``: fairseq's Transformer with a choice of position encodings."""

from typing import Any, Dict, Tuple

from fairseq.models import register_model
from fairseq.models.transformer import TransformerModelBase

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.blocks.stacks import FloaterDecoderStack, FloaterEncoderStack
from fairseq_floater.models.config import FloaterTransformerConfig, validate_model
from fairseq_floater.models.limits import options_of_task
from fairseq_floater.models.positioned import PositionedModel


@register_model("floater_transformer", dataclass=FloaterTransformerConfig)
class FloaterTransformerModel(PositionedModel, TransformerModelBase):
    """Encoder-decoder Transformer (Vaswani et al. 2017) with FLOATER (Liu et al. 2020)."""

    Config = FloaterTransformerConfig

    def __init__(self, cfg: Any, encoder: FloaterEncoderStack, decoder: FloaterDecoderStack):
        super().__init__(cfg, encoder, decoder)
        if cfg.position_options.shares_dynamics:
            self.tie_dynamics()

    def stacks(self) -> Dict[str, PositionedStack]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def max_positions(self) -> Tuple[int, int]:
        """Return the limits of source and target; the decoder's vectors also limit the source."""
        return min(self.encoder.max_positions(), self.decoder.source_limit()), (
            self.decoder.max_positions()
        )

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "FloaterTransformerModel":
        """Build from any form of configuration.

        Raises:
            UserError: for option values or combinations that have no meaning.
        """
        config = FloaterTransformerConfig.of(cfg)
        validate_model(config)
        model = super().build_model(config.nested(), task)
        model.prepare(config, task)
        decoder = model.stacks()["decoder"]
        decoder.left_pad_target = getattr(options_of_task(task), "left_pad_target", None)
        return model

    @classmethod
    def build_encoder(cls, cfg: Any, src_dict: Any, embed_tokens: Any) -> FloaterEncoderStack:
        return FloaterEncoderStack(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg: Any, tgt_dict: Any, embed_tokens: Any) -> FloaterDecoderStack:
        return FloaterDecoderStack(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )
