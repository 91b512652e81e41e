"""A model's configuration: fairseq's Transformer options and the position options, flat.

fairseq's own ``transformer`` still takes its options from a bare argparse namespace, since its
nested dataclass does not survive the way from the command line to a configuration. The same
options, flat (``encoder_embed_dim`` for ``encoder.embed_dim``), make one dataclass that does: the
command line, hydra and checkpoints all read it.
"""

from argparse import Namespace
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any, ClassVar, Dict, List, Optional, Tuple, Type, TypeVar, Union

from fairseq.dataclass import FairseqDataclass
from fairseq.models.transformer import TransformerConfig
from omegaconf import DictConfig, OmegaConf

from fairseq_floater.blocks.positioned import kept_layers
from fairseq_floater.encoders import WITHIN_ATTENTION
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import UserError
from fairseq_floater.models.types import as_declared, wrong_types
from fairseq_floater.options import PositionOptions, take_over_old_names
from fairseq_floater.training.levers import LeverOptions

_NESTED = ("encoder", "decoder", "quant_noise")
POSITION_FIELDS = tuple(f.name for f in fields(PositionOptions) if f.name != "_name")


def _flat_fields(config: Any, prefix: str = "") -> List[Tuple[str, Any, Any]]:
    """(name, type, field) of every option of a fairseq dataclass, nested ones prefixed."""
    flat = []
    for f in fields(config):
        if f.name == "_name":
            continue
        if f.name in _NESTED and not prefix:
            flat += _flat_fields(f.type, prefix=f.name + "_")
            continue
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if isinstance(default, str):
            # Change an interpolation such as ${model.decoder.embed_dim} to its flat name.
            default = default.replace("model.decoder.", "model.decoder_")
        flat.append((prefix + f.name, f.type, field(default=default, metadata=dict(f.metadata))))
    return flat


_Flat: Any = make_dataclass("_Flat", _flat_fields(TransformerConfig), bases=(FairseqDataclass,))


Config = TypeVar("Config", bound="ModelConfig")


class ModelConfig(PositionOptions):
    """Options of a model, whichever stacks it has.

    Attributes:
        limits: for each stack, the prefix of its options and the option that limits its length.
    """

    limits: ClassVar[Dict[str, str]] = {
        "encoder": "max_source_positions",
        "decoder": "max_target_positions",
    }

    @property
    def sides(self) -> Tuple[str, ...]:
        """The prefixes of the options of each stack."""
        return tuple(self.limits)

    @classmethod
    def of(cls: Type[Config], cfg: Any) -> Config:
        """Build from any form fairseq hands over (hydra's, a namespace, a dict); gaps get defaults.

        Raises:
            UserError: naming options whose types are not the declared ones.
        """
        if isinstance(cfg, cls):
            return cfg
        if isinstance(cfg, DictConfig):
            values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        else:
            values = cfg if isinstance(cfg, dict) else vars(cfg)
        if wrong := wrong_types(values, cls):
            raise UserError("; ".join(wrong))
        config = cls(**as_declared(values, cls))
        take_over_old_names(config)
        for name in ("decoder_input_dim", "decoder_output_dim"):
            if str(getattr(config, name, "")).startswith("${"):  # a gap, whose default is the width
                setattr(config, name, config.decoder_embed_dim)
        return config

    def input_options(self) -> Dict[str, bool]:
        """Return fairseq's options for the input if ``--base-positions`` sets it, else none."""
        if self.base_positions is None or self.beneath is not None:
            return {}
        learned = {f"{side}_learned_pos": self.base_positions == "learned" for side in self.sides}
        return {**learned, "no_token_positional_embeddings": self.base_positions == "none"}

    def by_name(self) -> Dict[str, Any]:
        """Return all options of the model, including those without a flag."""
        return dict(vars(self))


def kept_as_text(kept: Union[None, str, List[int]]) -> Optional[str]:
    """Return ``--encoder-layers-to-keep``, a list on the command line, as fairseq takes it."""
    return ",".join(map(str, kept_layers(kept))) or None


@dataclass
class FloaterTransformerConfig(ModelConfig, _Flat):
    """All options of ``floater_transformer``."""

    def nested(self) -> TransformerConfig:
        """Return fairseq's own nested form, plus ``position_options``."""
        flat = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_name"}
        for side in self.sides:
            kept = f"{side}_layers_to_keep"
            flat[kept] = kept_as_text(flat[kept])
        flat |= self.input_options()
        positions = {name: flat.pop(name) for name in POSITION_FIELDS}
        config = TransformerConfig.from_namespace(Namespace(**flat))
        config.position_options = PositionOptions(**positions)
        return config


def validate_model(config: ModelConfig) -> None:
    """Check the options, alone and together with fairseq's own.

    Raises:
        UserError: naming the flags and the fix.
    """
    config.validate()
    _validate_sizes(config)
    _validate_base(config)
    if config.attention_log_scale is not None or config.injection not in (None, "additive"):
        _validate_attention(config)
    for side in config.sides:
        _validate_kept_layers(config, side)
    widths = {side: int(getattr(config, f"{side}_embed_dim")) for side in config.sides}
    wide = config.injection in ("bias", "additive")  # as wide as the blocks
    if config.shares_dynamics and wide and len(set(widths.values())) > 1:
        got = " and ".join(f"--{side}-embed-dim {width}" for side, width in widths.items())
        raise UserError(
            f"--share-dynamics all needs equal widths, got {got}: use --share-dynamics stack"
        )


#: options that say how a model is trained, not what it computes
TRAINING = {
    *("dropout", "attention_dropout", "activation_dropout", "relu_dropout"),
    *("encoder_layerdrop", "decoder_layerdrop", "adaptive_softmax_dropout"),
    *("quant_noise_pq", "quant_noise_pq_block_size", "quant_noise_scalar"),
    *("checkpoint_activations", "offload_activations", "min_params_to_wrap", "export"),
    *("pooler_dropout", "load_checkpoint_heads", "mha_reg_scale_factor", "ffn_reg_scale_factor"),
    *("encoder_embed_path", "decoder_embed_path", "_name"),
    *("dynamics_init", "dynamics_init_scale", "dynamics_longest_period", "ode_adjoint"),
    "extend_base_positions",
    *(declared.name for declared in fields(LeverOptions)),
}


def different_computation(there: ModelConfig, here: ModelConfig) -> List[str]:
    """Return, a sentence each, the options that make equal weights compute something else here.

    Limits of the length are left out, since they change no computation: where one is the length of
    a table, the weights differ. They also differ where the dynamics have another size.
    """
    if type(there) is not type(here):
        return [f"it is a {type(there).__name__} there, a {type(here).__name__} here"]
    shown = {*here.limits.values(), "dynamics_hidden_dim"}
    passed_over = TRAINING | shown | {"position_injection", "position_attention"}
    names = [f.name for f in fields(here) if f.name not in passed_over]
    values = [(name, getattr(there, name), getattr(here, name)) for name in names]
    values.append(("position_injection", there.injection, here.injection))
    values.append(("position_attention", there.attention, here.attention))
    return [
        f"{flag_name(name)} is {theirs} there, {ours} here"
        for name, theirs, ours in values
        if str(theirs) != str(ours)
    ]


def _validate_sizes(config: ModelConfig) -> None:
    """Check the sizes: fairseq divides by some of them, and takes others without a check."""
    for side in config.sides:
        at_least = {"embed_dim": 1, "ffn_embed_dim": 1, "attention_heads": 1, "layers": 0}
        for name, least in at_least.items():
            value = int(getattr(config, f"{side}_{name}"))
            if value < least:
                flag = flag_name(f"{side}_{name}")
                raise UserError(f"{flag} must be >= {least}, got {value}")
    for name in config.limits.values():
        limit = getattr(config, name)
        if limit is not None and limit < 1:
            raise UserError(f"{flag_name(name)} must be >= 1, got {limit}")
    base_layers = getattr(config, "base_layers", 0)
    if base_layers != 0:  # they ask torch for its processes as soon as a model is built
        raise UserError(
            f"--base-layers {base_layers} is not supported: its layers live on several GPUs "
            "at once and have no positions; leave it out"
        )


def _validate_kept_layers(config: ModelConfig, stack: str) -> None:
    """Check that the kept layers exist and, if only one has positions, that it is kept."""
    given, layers = getattr(config, f"{stack}_layers_to_keep"), getattr(config, f"{stack}_layers")
    kept = kept_layers(given)
    if any(not 0 <= number < layers for number in kept):
        raise UserError(
            f"--{stack}-layers-to-keep is {given}, but the {stack} has layers 0 to {layers - 1}: "
            "choose from these"
        )
    within = config.injection not in (None, "additive")
    first_only = within and config.position_blocks == "input"
    if kept and first_only and 0 not in kept:
        raise UserError(
            f"--{stack}-layers-to-keep is {given} and leaves out layer 0, the only one with "
            "positions under --position-blocks input: keep it"
        )


def _validate_base(config: ModelConfig) -> None:
    """Check that fairseq's own options on positions do not contradict ours."""
    encoder, base = config.position_encoder, config.base_positions
    learned = any(getattr(config, f"{side}_learned_pos", False) for side in config.sides)
    bare = getattr(config, "no_token_positional_embeddings", False)
    if base is not None and not config.beneath and (learned or bare):
        raise UserError(
            f"--base-positions {base} already chooses the positions at the input: leave out "
            "--encoder-learned-pos, --decoder-learned-pos and --no-token-positional-embeddings"
        )
    if config.keep_input_positions and bare:
        raise UserError(
            "--keep-input-positions contradicts --no-token-positional-embeddings: give only one of "
            "them"
        )
    if learned and not config.keeps_input:
        replacing = (
            f"--base-positions {base}" if config.beneath else f"--position-encoder {encoder}"
        )
        raise UserError(
            "--encoder-learned-pos and --decoder-learned-pos choose the base encoding that "
            f"--position-injection bias keeps, but {replacing} replaces it: leave them out, or use "
            "--position-encoder learned"
        )
    if bare and config.injection == "additive":
        raise UserError(
            f"--no-token-positional-embeddings contradicts --position-encoder {encoder}: "
            "leave it out, or use --position-encoder none"
        )


def _validate_attention(config: ModelConfig) -> None:
    """Check that the attention can take positions within it."""
    if any(getattr(config, f"{side}_xformers_att_config", None) for side in config.sides):
        raise UserError(
            "positions within attention need torch's own attention: leave out "
            "--encoder-xformers-att-config and --decoder-xformers-att-config"
        )
    if config.attention == "cross" and "decoder" not in config.sides:
        raise UserError(
            "--position-attention cross has no attention to act in without a decoder: use "
            "--position-attention self"
        )
    if config.attention == "cross" and config.no_cross_attention:
        raise UserError(
            "--position-attention cross has no attention to act in with --no-cross-attention: use "
            "--position-attention self"
        )
    others = [use for use in config.uses.values() if use.injection in WITHIN_ATTENTION]
    if getattr(config, "cross_self_attention", False) and others:
        raise UserError(
            "--cross-self-attention reads source and target together, where "
            f"{others[0].encoder_class.kind} positions as {others[0].injection} have no meaning: "
            "leave it out, or use biases"
        )
