"""The models of the plugin, and which of them a checkpoint's options describe."""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Type

from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.models.transformer import TransformerModelBase

from fairseq_floater.models.config import ModelConfig
from fairseq_floater.models.description import names_roberta
from fairseq_floater.models.floater_roberta import FloaterRobertaModel
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.models.positioned import PositionedModel


class ModelKind(NamedTuple):
    """A model of the plugin, which also stands for fairseq's own model of the same kind.

    Attributes:
        name: the name by which fairseq knows it.
        model: its class.
        words: the names of its word embedding tables, by the task's names for their dictionaries.
    """

    name: str
    model: Type[PositionedModel]
    words: Dict[str, str]


TRANSFORMER = ModelKind(
    "floater_transformer",
    FloaterTransformerModel,
    {
        "source_dictionary": "encoder.embed_tokens.weight",
        "target_dictionary": "decoder.embed_tokens.weight",
    },
)
ROBERTA = ModelKind(
    "floater_roberta",
    FloaterRobertaModel,
    {"source_dictionary": "encoder.sentence_encoder.embed_tokens.weight"},
)


def kind_of(options: Mapping[str, Any]) -> Optional[ModelKind]:
    """Return the kind of a model with these options, ours or fairseq's; None for any other.

    A name that is not registered, perhaps of a module that is not loaded, counts as that of a
    Transformer if the options have numbers of blocks for both of its stacks.
    """
    if names_roberta(options):
        return ROBERTA
    name = str(options.get("arch") or options.get("_name"))
    known = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
    if known is None:
        blocks = (options.get(f"{stack}_layers") for stack in ("encoder", "decoder"))
        return TRANSFORMER if all(isinstance(number, int) for number in blocks) else None
    return TRANSFORMER if issubclass(known, TransformerModelBase) else None


def kind_with(config: ModelConfig) -> ModelKind:
    """Return the kind of model that ``config`` describes."""
    return ROBERTA if isinstance(config, ROBERTA.model.Config) else TRANSFORMER
