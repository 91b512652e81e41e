"""``floater_roberta``: fairseq's RoBERTa with a choice of positions (paper, section 4.2)."""

import argparse
from argparse import Namespace
from typing import Any, Callable, Dict

import torch
from fairseq.models import register_model
from fairseq.models.roberta.model import RobertaEncoder, RobertaModel
from fairseq.models.transformer import TransformerConfig
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from torch import Tensor, nn

from fairseq_floater.blocks.positioned import PositionedStack, require_bounded
from fairseq_floater.blocks.stacks import FloaterEncoderStack
from fairseq_floater.criterions.answer_span import SPAN_HEAD
from fairseq_floater.encoders import LearnedEncoder
from fairseq_floater.models.config import validate_model
from fairseq_floater.models.limits import options_of_task
from fairseq_floater.models.positioned import PositionedModel
from fairseq_floater.models.roberta_config import FloaterRobertaConfig
from fairseq_floater.models.span_head import BERT_STD, build_span_head, without_span_head

#: prefix of the names of the weights of all heads except the one for masked words
HEADS = "classification_heads."


class FloaterRobertaEncoder(RobertaEncoder):
    """fairseq's encoder and masked-LM head over a stack with positions."""

    def build_encoder(self, args: Namespace, dictionary: Any, embed_tokens: Any) -> nn.Module:
        cfg = TransformerConfig.from_namespace(args)
        cfg.position_options = args.position_options
        stack = FloaterEncoderStack(cfg, dictionary, embed_tokens)
        stack.apply(sparing_positions(stack, init_bert_params))
        added = stack.position_encoder if stack.additive else stack.input_encoder
        if isinstance(added, LearnedEncoder):
            table = added.table
            own = torch.Generator(table.device).manual_seed(torch.initial_seed() % 2**63)
            nn.init.normal_(table, std=BERT_STD, generator=own)
        return stack

    def max_positions(self) -> int:
        """Return the limit of the stack: none without a table; a shift takes up room in one."""
        return int(self.sentence_encoder.max_positions())


@register_model("floater_roberta", dataclass=FloaterRobertaConfig)
class FloaterRobertaModel(PositionedModel, RobertaModel):
    """RoBERTa (Liu, Y. et al. 2019) with FLOATER (Liu, X. et al. 2020)."""

    Config = FloaterRobertaConfig

    gets_heads = True

    def stacks(self) -> Dict[str, PositionedStack]:
        return {"encoder.sentence_encoder": self.encoder.sentence_encoder}

    def apply(self, fn: Callable[[nn.Module], None]) -> "FloaterRobertaModel":
        """Apply as torch does, but do not let fairseq's initialisation reach positions."""
        if fn is init_bert_params:
            fn = sparing_positions(self.encoder.sentence_encoder, fn)
        return super().apply(fn)

    def register_span_head(self) -> None:
        """Add a head for answers, with which ``forward`` returns (batch, length, 2)."""
        self.classification_heads[SPAN_HEAD] = build_span_head(self.args.encoder_embed_dim)

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> None:
        """Upgrade as fairseq does, which fills in new heads, and allow for a head for answers."""
        prefix = f"{name}." if name else ""
        spans = without_span_head(state_dict, f"{prefix}{HEADS}{SPAN_HEAD}.")
        super().upgrade_state_dict_named(state_dict, name)
        if SPAN_HEAD in self.classification_heads:
            state_dict.update(spans)

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        super().add_args(parser)
        for action in parser._actions:
            if action.dest == "layernorm_embedding":  # on by default; fairseq's flag turns it on
                action.const = True

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "FloaterRobertaModel":
        """Build from any form of configuration.

        Raises:
            UserError: for option values or combinations that have no meaning.
        """
        config = FloaterRobertaConfig.of(cfg)
        validate_model(config)
        if config.max_positions is None:  # also in a checkpoint, unless it was given
            config.max_positions = _positions_of(task)
        require_bounded("max_positions", config.max_positions)
        args = config.as_fairseqs()
        model = cls(args, FloaterRobertaEncoder(args, task.source_dictionary))
        for module in model.modules():
            if hasattr(module, "normalized_shape"):  # torch's norm, and apex's
                module.eps = config.layer_norm_eps
        model.prepare(config, task)
        return model


def _positions_of(task: Any) -> int:
    """Return the longest input that a task has, in positions."""
    cfg = options_of_task(task)
    length = getattr(cfg, "tokens_per_sample", None) or getattr(cfg, "max_positions", None)
    return int(length or 512)


def sparing_positions(
    stack: PositionedStack, initialise: Callable[[nn.Module], None]
) -> Callable[[nn.Module], None]:
    """Return ``initialise`` for all modules except position encoders, which do it themselves.

    It draws no random numbers for these, so everything else starts alike with any position encoder.
    """
    spared = {module for encoder in stack.encoders() for module in encoder.modules()}
    return lambda module: None if module in spared else initialise(module)
