"""A model of language understanding trained with fairseq_floater, for transformers.

Use it like this:

    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
    batch = tokenizer([("Two dogs run.", "Dogs move.")], return_tensors="pt", padding=True)
    print(model.config.id2label[int(model(**batch).logits.argmax())])
"""

from typing import Any, Dict, Optional

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import (
    BaseModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
)

from .stacks_floater import Encoder


class FloaterRobertaConfig(PretrainedConfig):
    """Sizes, blocks and positions.

    Args:
        side: see ``stacks_floater``.
        head_activation: the activation of a head of classes.
        head_dropout: the dropout of that head.
    """

    model_type = "floater_roberta"

    def __init__(
        self,
        side: Optional[Dict[str, Any]] = None,
        head_activation: str = "tanh",
        head_dropout: float = 0.0,
        **kwargs: Any,
    ):
        self.side = side or {}
        self.head_activation, self.head_dropout = head_activation, head_dropout
        super().__init__(**kwargs)
        self.vocab_size = self.side.get("words", 0)
        self.hidden_size = self.side.get("dim", 0)
        self.num_hidden_layers = self.side.get("layers", 0)
        self.num_attention_heads = self.side.get("heads", 0)


class _Pretrained(PreTrainedModel):
    config_class = FloaterRobertaConfig
    base_model_prefix = "roberta"
    _keep_in_fp32_modules_strict = ["positions"]  # far positions need it
    accepts_loss_kwargs = False  # the loss is a mean over the batch


class FloaterRobertaModel(_Pretrained):
    """Hidden states of every token."""

    def __init__(self, config: FloaterRobertaConfig):
        super().__init__(config)
        self.stack = Encoder(config.side)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.stack.embed_tokens

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Optional[Tensor] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Takes ids (batch, length) and a mask of the same shape; token types have no effect."""
        every = bool(output_attentions or output_hidden_states)
        passed = self.stack(input_ids, attention_mask, every)
        return BaseModelOutput(**passed.asked_for(output_attentions, output_hidden_states))


class FloaterRobertaForSequenceClassification(_Pretrained):
    """Classes of one or two texts, or a score if there is only one label."""

    def __init__(self, config: FloaterRobertaConfig):
        super().__init__(config)
        self.roberta = FloaterRobertaModel(config)
        self.dense = nn.Linear(config.side["dim"], config.side["dim"])
        self.out_proj = nn.Linear(config.side["dim"], config.num_labels)
        self.dropout = nn.Dropout(config.head_dropout)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Optional[Tensor] = None,
        labels: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Return logits (batch, labels) from the first token and, with ``labels``, the loss."""
        x = self.roberta(input_ids, attention_mask)[0][:, 0]
        x = ACT2FN[self.config.head_activation](self.dense(self.dropout(x)))
        logits, loss = self.out_proj(self.dropout(x)), None
        if labels is not None and self.config.num_labels == 1:
            loss = F.mse_loss(logits.view(-1).float(), labels.view(-1).float())
        elif labels is not None:
            loss = F.cross_entropy(logits.float(), labels.view(-1))
        return SequenceClassifierOutput(loss=loss, logits=logits)


class FloaterRobertaForQuestionAnswering(_Pretrained):
    """The beginning and end of an answer in a passage."""

    def __init__(self, config: FloaterRobertaConfig):
        super().__init__(config)
        self.roberta = FloaterRobertaModel(config)
        self.span = nn.Linear(config.side["dim"], 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Optional[Tensor] = None,
        start_positions: Optional[Tensor] = None,
        end_positions: Optional[Tensor] = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        """Return logits (batch, length) of both ends and, with ``*_positions``, the loss."""
        logits = self.span(self.roberta(input_ids, attention_mask)[0]).float()
        begin, end = logits.unbind(dim=2)
        loss = None
        if start_positions is not None and end_positions is not None:
            losses = F.cross_entropy(begin, start_positions), F.cross_entropy(end, end_positions)
            loss = (losses[0] + losses[1]) / 2
        return QuestionAnsweringModelOutput(loss=loss, start_logits=begin, end_logits=end)


FloaterRobertaConfig.register_for_auto_class()
FloaterRobertaModel.register_for_auto_class("AutoModel")
FloaterRobertaForSequenceClassification.register_for_auto_class(
    "AutoModelForSequenceClassification"
)
FloaterRobertaForQuestionAnswering.register_for_auto_class("AutoModelForQuestionAnswering")
