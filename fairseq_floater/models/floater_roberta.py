"""``floater_roberta``: fairseq's RoBERTa with a choice of positions (paper, section 4.2)."""

import argparse
from argparse import Namespace
from contextlib import contextmanager
from typing import Any, Dict, Iterator

import torch
from fairseq.models import register_model
from fairseq.models.roberta.model import RobertaEncoder, RobertaModel
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from torch import Tensor, nn

from fairseq_floater.blocks.positioned import PositionedStack, require_bounded
from fairseq_floater.blocks.stacks import FloaterEncoderStack
from fairseq_floater.criterions.answer_span import SPAN_HEAD
from fairseq_floater.models.config import validate
from fairseq_floater.models.limits import options_of_task
from fairseq_floater.models.positioned import PositionedModel
from fairseq_floater.models.roberta_config import FloaterRobertaConfig
from fairseq_floater.models.span_head import BERT_STD, build_span_head, without_span_head

#: beginning of the names of the weights of all heads but that of masked words
HEADS = "classification_heads."


class FloaterRobertaEncoder(RobertaEncoder):
    """fairseq's encoder and masked-LM head over a stack with positions."""

    def build_encoder(self, args: Namespace, dictionary: Any, embed_tokens: Any) -> nn.Module:
        cfg = FloaterRobertaConfig.nested(args)
        stack = FloaterEncoderStack(cfg, dictionary, embed_tokens)
        with as_they_start(stack):
            stack.apply(init_bert_params)
        if stack.input_encoder is not None and stack.input_encoder.learns:
            nn.init.normal_(stack.input_encoder.table, std=BERT_STD)  # type: ignore[arg-type]
        return stack


@register_model("floater_roberta", dataclass=FloaterRobertaConfig)
class FloaterRobertaModel(PositionedModel, RobertaModel):
    """RoBERTa (Liu, Y. et al. 2019) with FLOATER (Liu, X. et al. 2020)."""

    Config = FloaterRobertaConfig

    #: tasks give it theirs after it is built
    gets_heads = True

    def __init__(self, args: Namespace, encoder: FloaterRobertaEncoder):
        with as_they_start(encoder.sentence_encoder):
            super().__init__(args, encoder)

    def stacks(self) -> Dict[str, PositionedStack]:
        return {"encoder.sentence_encoder": self.encoder.sentence_encoder}

    def register_span_head(self) -> None:
        """Have a head of answers, by which ``forward`` gives (batch, length, 2)."""
        self.classification_heads[SPAN_HEAD] = build_span_head(self.args.encoder_embed_dim)

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> None:
        """As fairseq's, which fills in heads that are new, and also with a head of answers."""
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
        validate(config)
        if config.max_positions is None:  # in a checkpoint, too, unless it was given
            config.max_positions = _positions_of(task)
        require_bounded("max_positions", config.max_positions)
        args = config.as_fairseqs()
        model = cls(args, FloaterRobertaEncoder(args, task.source_dictionary))
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = config.layer_norm_eps
        model.prepare(config, task)
        return model


def _positions_of(task: Any) -> int:
    """The longest input that a task has, in positions."""
    cfg = options_of_task(task)
    length = getattr(cfg, "tokens_per_sample", None) or getattr(cfg, "max_positions", None)
    return int(length or 512)


@contextmanager
def as_they_start(stack: PositionedStack) -> Iterator[None]:
    """Keep the position encoders of a stack from an initialisation that is meant for all else."""
    weights = [weight for encoder in stack.encoders() for weight in encoder.parameters()]
    starts = [weight.detach().clone() for weight in weights]
    yield
    with torch.no_grad():
        for weight, start in zip(weights, starts):
            weight.copy_(start)
