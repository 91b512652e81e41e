"""Named architectures and configuration: fairseq's own, except for the positions."""

from argparse import Namespace
from dataclasses import fields

import pytest
from conftest import make_model, make_stock, make_task
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, gen_parser_from_dataclass
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.models.transformer import TransformerConfig
from fairseq.modules import FairseqDropout

from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.options import PositionOptions

SUFFIXES = [
    "",
    "_iwslt_de_en",
    "_wmt_en_de",
    "_wmt_en_de_big",
    "_vaswani_wmt_en_de_big",
    "_vaswani_wmt_en_fr_big",
]


def as_dict(config):
    """Return all leaves of a nested fairseq configuration."""
    leaves = {}
    for field in fields(config):
        value = getattr(config, field.name)
        nested = as_dict(value) if hasattr(value, "__dataclass_fields__") else {None: value}
        leaves |= {(field.name, key): leaf for key, leaf in nested.items()}
    return leaves


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("given", [{}, {"encoder_embed_dim": 256, "dropout": 0.25}])
def test_architectures_equal_fairseqs(suffix, given):
    """The architecture and then the dataclass turn the same options into the same nested ones."""
    stock, ours = Namespace(**given), Namespace(**given)
    ARCH_CONFIG_REGISTRY["transformer" + suffix](stock)
    ARCH_CONFIG_REGISTRY["floater_transformer" + suffix](ours)
    expected = as_dict(TransformerConfig.from_namespace(stock))
    assert as_dict(FloaterTransformerConfig.of(ours).nested()) == expected


@pytest.mark.parametrize("options", [{}, {"position_encoder": "rotary"}], ids=["biases", "rotary"])
def test_dropouts_have_their_names_in_fairseq(options):
    """By these names ``--retain-dropout-modules`` chooses them."""

    def names(model):
        return [part.module_name for part in model.modules() if isinstance(part, FairseqDropout)]

    wanted = names(make_stock())
    assert {"TransformerDecoder", "TransformerEncoderLayerBase", "MultiheadAttention"} < {*wanted}
    assert names(make_model(**options)) == wanted


def test_tiny_is_what_it_says():
    args = Namespace()
    ARCH_CONFIG_REGISTRY["floater_transformer_tiny"](args)
    config = FloaterTransformerConfig.of(args).nested()
    for side in (config.encoder, config.decoder):
        assert (side.layers, side.embed_dim, side.ffn_embed_dim, side.attention_heads) == (
            4,
            128,
            256,
            4,
        )


def test_no_option_collides_with_fairseqs():
    """fairseq copies flat names into its nested options by prefix, and everywhere by name."""
    ours = {f.name for f in fields(PositionOptions)} - {"_name"}
    flat = {f.name for f in fields(FloaterTransformerConfig)}
    assert ours < flat
    stock = {f.name for f in fields(TransformerConfig)}
    assert not ours & stock
    assert not any(name.startswith(("encoder_", "decoder_", "quant_noise_")) for name in ours)


def test_every_option_has_help_and_a_valid_default():
    for field in fields(PositionOptions):
        assert field.name == "_name" or len(field.metadata["help"]) > 20, field.name
    PositionOptions().validate()


def test_options_survive_the_command_line_configuration():
    """From argparse through fairseq's composed configuration to the model."""
    import argparse

    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    gen_parser_from_dataclass(parser, FloaterTransformerConfig(), delete_default=True)
    args = parser.parse_args(
        "--position-encoder rnn --rnn-layers 2 --decoder-layers 1 --encoder-embed-dim 32 "
        "--position-delta 0.05".split()
    )
    args.arch = "floater_transformer_tiny"
    args.task, args.data = "translation", "nowhere"
    ARCH_CONFIG_REGISTRY[args.arch](args)
    cfg = convert_namespace_to_omegaconf(args).model
    assert cfg._name == "floater_transformer_tiny"
    model = ARCH_MODEL_REGISTRY[args.arch].build_model(cfg, make_task())
    assert model.encoder.position_encoder.dim == 32 and model.decoder.num_layers == 1
    assert len(model.decoder.position_encoder.dynamics.layers) == 2
    assert model.cfg.position_options.position_delta == 0.05


def test_the_dataclass_serves_hydra():
    assert MODEL_DATACLASS_REGISTRY["floater_transformer"] is FloaterTransformerConfig
