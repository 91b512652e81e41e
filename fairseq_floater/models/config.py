"""The model's configuration: fairseq's Transformer options and the position options, flat.

fairseq's own ``transformer`` still takes its options from a bare argparse namespace, since its
nested dataclass does not survive the way from command line to configuration. The same options,
flat (``encoder_embed_dim`` for ``encoder.embed_dim``), make one dataclass that does: the command
line, hydra and checkpoints all read it.
"""

from argparse import Namespace
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any, List, Tuple

from fairseq.dataclass import FairseqDataclass
from fairseq.models.transformer import TransformerConfig
from omegaconf import DictConfig, OmegaConf

from fairseq_floater.options import PositionOptions

_NESTED = ("encoder", "decoder", "quant_noise")
_POSITION_FIELDS = tuple(f.name for f in fields(PositionOptions) if f.name != "_name")


def _flat_fields(config: type, prefix: str = "") -> List[Tuple[str, Any, Any]]:
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
            # An interpolation such as ${model.decoder.embed_dim}, to its flat name.
            default = default.replace("model.decoder.", "model.decoder_")
        flat.append((prefix + f.name, f.type, field(default=default, metadata=dict(f.metadata))))
    return flat


_Flat = make_dataclass("_Flat", _flat_fields(TransformerConfig), bases=(FairseqDataclass,))


@dataclass
class FloaterTransformerConfig(PositionOptions, _Flat):
    """All options of ``floater_transformer``."""

    def nested(self) -> TransformerConfig:
        """fairseq's own nested form, with ``position_options`` on top."""
        flat = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_name"}
        positions = {name: flat.pop(name) for name in _POSITION_FIELDS}
        config = TransformerConfig.from_namespace(Namespace(**flat))
        config.position_options = PositionOptions(**positions)
        return config


def to_config(cfg: Any) -> FloaterTransformerConfig:
    """Any form fairseq hands over (hydra's, a namespace, a dict, ours); gaps get defaults."""
    if isinstance(cfg, FloaterTransformerConfig):
        return cfg
    if isinstance(cfg, DictConfig):
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    else:
        values = cfg if isinstance(cfg, dict) else vars(cfg)
    known = {f.name for f in fields(FloaterTransformerConfig)} - {"_name"}
    config = FloaterTransformerConfig(**{k: v for k, v in values.items() if k in known})
    for name in ("decoder_input_dim", "decoder_output_dim"):
        if str(getattr(config, name)).startswith("${"):  # a gap, whose default is the width
            setattr(config, name, config.decoder_embed_dim)
    return config
