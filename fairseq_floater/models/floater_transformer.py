"""``floater_transformer``: fairseq's Transformer with a choice of position encodings."""

import copy
from typing import Any

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model
from fairseq.models.transformer import DEFAULT_MAX_SOURCE_POSITIONS, TransformerModelBase

from fairseq_floater.blocks.stacks import UNLIMITED, FloaterDecoderStack, FloaterEncoderStack
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig, to_config
from fairseq_floater.models.stored import take_tables
from fairseq_floater.models.warm_start import fit
from fairseq_floater.training.levers import apply_levers


@register_model("floater_transformer", dataclass=FloaterTransformerConfig)
class FloaterTransformerModel(TransformerModelBase):
    """Encoder-decoder Transformer (Vaswani et al. 2017) with FLOATER (Liu et al. 2020)."""

    def __init__(self, cfg, encoder: FloaterEncoderStack, decoder: FloaterDecoderStack):
        super().__init__(cfg, encoder, decoder)
        if cfg.position_options.share_dynamics == "all" and hasattr(encoder.positions, "dynamics"):
            decoder.positions.dynamics = encoder.positions.dynamics

    @staticmethod
    def add_args(parser) -> None:
        """Flags without defaults, so that those of the architecture can come in."""
        gen_parser_from_dataclass(parser, FloaterTransformerConfig(), delete_default=True)

    @classmethod
    def build_model(cls, cfg: Any, task) -> "FloaterTransformerModel":
        """Build from any form of configuration.

        Raises:
            UserError: for option values or combinations that have no meaning.
        """
        config = to_config(cfg)
        validate(config)
        model = super().build_model(config.nested(), task)
        model.options = vars(config)
        apply_levers(model, config)
        lift_task_limits(task, model)
        return model

    def load_state_dict(self, state_dict, strict: bool = True, model_cfg=None, args=None):
        """Load a model of this kind, or a trained base model to start from.

        Raises:
            UserError: naming what does not fit, before any weight is changed.
        """
        weights = copy.copy(state_dict)
        tables = take_tables(self, weights)
        if strict:
            weights = fit(self, weights)
        result = super().load_state_dict(weights, strict, model_cfg, args)
        for stack, table in tables.items():
            getattr(self, stack).positions.keep(table)
        return result

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens) -> FloaterEncoderStack:
        return FloaterEncoderStack(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens) -> FloaterDecoderStack:
        return FloaterDecoderStack(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )


def validate(config: FloaterTransformerConfig) -> None:
    """Check the options, alone and together with the Transformer's.

    Raises:
        UserError: naming the flags and the mend.
    """
    config.validate()
    encoder, bias = config.position_encoder, config.injection == "bias"
    learned_base = config.encoder_learned_pos or config.decoder_learned_pos
    if learned_base and not bias:
        raise UserError(
            "--encoder-learned-pos and --decoder-learned-pos choose the base encoding that "
            f"--position-injection bias keeps, but --position-encoder {encoder} replaces it: "
            "leave them out, or use --position-encoder learned"
        )
    if config.no_token_positional_embeddings and not bias and encoder != "none":
        raise UserError(
            f"--no-token-positional-embeddings contradicts --position-encoder {encoder}: "
            "leave it out, or use --position-encoder none"
        )
    if bias and config.cross_self_attention:
        raise UserError(
            "--position-injection bias cannot follow the joint source and target keys of "
            "--cross-self-attention: use --position-injection additive"
        )
    if bias and (config.encoder_xformers_att_config or config.decoder_xformers_att_config):
        raise UserError(
            "--position-injection bias works on fairseq's own attention: leave out "
            "--encoder-xformers-att-config and --decoder-xformers-att-config"
        )
    if config.encoder_layers_to_keep or config.decoder_layers_to_keep:
        raise UserError(
            "--encoder-layers-to-keep and --decoder-layers-to-keep would drop blocks but not "
            "their trajectories: use --encoder-layerdrop and --decoder-layerdrop in training"
        )
    shares = config.share_dynamics == "all" and encoder in ("floater", "rnn")
    if shares and config.encoder_embed_dim != int(config.decoder_embed_dim):
        raise UserError(
            f"--share-dynamics all needs equal widths, got --encoder-embed-dim "
            f"{config.encoder_embed_dim} and --decoder-embed-dim {config.decoder_embed_dim}: "
            "use --share-dynamics stack"
        )


def lift_task_limits(task, model: FloaterTransformerModel) -> None:
    """Keep the task's default limit of 1,024 tokens from binding a model that has none.

    The task filters and refuses data by its own copy of the limits, which generation takes from
    the command line, not from the checkpoint. A limit other than the default is somebody's wish
    and stays.
    """
    cfg = getattr(task, "cfg", None) or getattr(task, "args", None)  # of a legacy task
    for side, stack in (("source", model.encoder), ("target", model.decoder)):
        name = f"max_{side}_positions"
        is_default = getattr(cfg, name, None) == DEFAULT_MAX_SOURCE_POSITIONS
        if is_default and stack.max_positions() == UNLIMITED:
            setattr(cfg, name, UNLIMITED)
