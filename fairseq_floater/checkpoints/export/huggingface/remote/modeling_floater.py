"""A translation model that was trained with fairseq_floater, for Hugging Face's transformers.

Use it like this:

    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
    batch = tokenizer(["Two dogs run ."], return_tensors="pt", padding=True)
    print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
"""

from typing import Any, Dict, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .stacks_floater import Decoder, Encoder

if "cache" not in Seq2SeqLMOutput.__dataclass_fields__:
    raise ImportError("this model needs transformers 5.24 or newer: pip install -U transformers")


class FloaterConfig(PretrainedConfig):
    """Sizes, and the blocks and positions of every stack.

    Args:
        encoder_side, decoder_side: see ``stacks_floater``.
        ties: names of weights that are the same as another, each with the name of that one.
    """

    model_type = "floater_transformer"

    def __init__(
        self,
        encoder_side: Optional[Dict[str, Any]] = None,
        decoder_side: Optional[Dict[str, Any]] = None,
        ties: Optional[Dict[str, str]] = None,
        **kwargs: Any,
    ):
        self.encoder_side, self.decoder_side = encoder_side or {}, decoder_side or {}
        self.ties = ties or {}
        kwargs.setdefault("is_encoder_decoder", True)
        kwargs.setdefault("tie_word_embeddings", bool(self.ties))
        super().__init__(**kwargs)
        self.vocab_size = self.decoder_side.get("words", 0)
        self.hidden_size = self.decoder_side.get("dim", 0)
        self.num_hidden_layers = self.decoder_side.get("layers", 0)
        self.num_attention_heads = self.decoder_side.get("heads", 0)
        # Of a translation, with its end; None if no table ends.
        self.max_position_embeddings = self.decoder_side.get("longest")


class FloaterEncoder(Encoder):
    """The encoder as ``generate`` expects it."""

    main_input_name = "input_ids"

    def forward(  # type: ignore[override]  # what transformers passes and expects
        self,
        input_ids: Tensor,
        attention_mask: Optional[Tensor] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        every = bool(output_attentions or output_hidden_states)
        passed = super().forward(input_ids, attention_mask, every)
        return BaseModelOutput(**passed.asked_for(output_attentions, output_hidden_states))


class FloaterForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Encoder, decoder and the projection to words."""

    config_class = FloaterConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _keep_in_fp32_modules_strict = ["positions"]  # far positions need it
    accepts_loss_kwargs = False  # the loss is a mean over the batch

    def __init__(self, config: FloaterConfig):
        super().__init__(config)
        self.encoder = FloaterEncoder(config.encoder_side)
        self.decoder = Decoder(config.decoder_side, config.encoder_side["dim"])
        self._tied_weights_keys = dict(config.ties)
        self.post_init()

    def get_encoder(self, *args: Any, **kwargs: Any) -> nn.Module:
        return self.encoder

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder.output_projection

    def forward(
        self,
        input_ids: Optional[Tensor] = None,
        attention_mask: Optional[Tensor] = None,
        decoder_input_ids: Optional[Tensor] = None,
        decoder_attention_mask: Optional[Tensor] = None,
        encoder_outputs: Optional[Union[BaseModelOutput, Tuple[Tensor, ...]]] = None,
        cache: Optional[EncoderDecoderCache] = None,
        labels: Optional[Tensor] = None,
        use_cache: Optional[bool] = None,
        output_attentions: Optional[bool] = None,
        output_hidden_states: Optional[bool] = None,
        return_dict: Optional[bool] = None,
        **kwargs: Any,
    ) -> Union[Seq2SeqLMOutput, Tuple[Any, ...]]:
        """Return logits (batch, target length, words) and, with ``labels``, the loss.

        The arguments are those of every encoder-decoder in transformers.
        """
        asked = output_attentions, output_hidden_states
        if labels is not None and decoder_input_ids is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, *asked)
        encoded = encoder_outputs[0]
        if attention_mask is None:
            attention_mask = torch.ones(encoded.shape[:2], dtype=torch.long, device=encoded.device)
        if use_cache and cache is None:
            cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        passed = self.decoder(
            decoder_input_ids, encoded, attention_mask, decoder_attention_mask, cache, any(asked)
        )
        logits = self.decoder.output_projection(passed.x)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        output = Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            cache=cache,
            decoder_hidden_states=passed.states if output_hidden_states else None,
            decoder_attentions=passed.weights if output_attentions else None,
            cross_attentions=passed.to_source if output_attentions else None,
            encoder_last_hidden_state=encoded,
        )
        return output if return_dict is not False else output.to_tuple()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Return labels shifted right by one, after the start; -100 becomes a pad.

        Transformers' collators call this method.
        """
        start = labels.new_full((len(labels), 1), self.config.decoder_start_token_id)
        ids = torch.cat([start, labels[:, :-1]], dim=1)
        return ids.masked_fill(ids == -100, self.config.pad_token_id)


FloaterConfig.register_for_auto_class()
FloaterForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")
