"""RoBERTa with positions: what it starts from, what it equals, and what it refuses."""

import json
from argparse import Namespace

import pytest
import torch
from conftest import make_task
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_floater import cli
from fairseq_floater.encoders import build_dynamics
from fairseq_floater.errors import UserError
from fairseq_floater.models.warm_start import Weights
from fairseq_floater.options import PositionOptions

pytest_plugins = ["commands"]

SIZES = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 20,
}

#: positions that leave the features of a trained model as they are
EXACT = [
    {},
    {"position_blocks": "input"},
    {"dynamics": "mlp"},
    {"position_encoder": "fourier"},
    {"position_encoder": "rnn", "position_injection": "bias"},
    {"position_encoder": "learned", "position_injection": "bias"},
    {"position_encoder": "learned", "position_blocks": "input"},
]


def make_roberta(arch="floater_roberta", seed=0, **options):
    """A small model, with its dropout off."""
    args = Namespace(arch=arch, **{**SIZES, **options})
    ARCH_CONFIG_REGISTRY[arch](args)
    torch.manual_seed(seed)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, make_task()).eval()


@pytest.fixture(scope="module")
def stock():
    """fairseq's own model, with every weight perturbed so that it matters."""
    model = make_roberta("roberta")
    model.register_classification_head("topics", num_classes=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


def tokens():
    """Return two rows; the second has pads."""
    rows = torch.randint(4, 27, (2, 9), generator=torch.Generator().manual_seed(3))
    rows[1, 6:] = 1
    return rows


@pytest.mark.parametrize("options", EXACT, ids=str)
def test_starts_with_the_features_of_a_trained_model(options, stock):
    """Features, the masked-LM head and the classes of a head are the same, and positions learn."""
    ours = make_roberta(seed=1, **options)
    ours.register_classification_head("topics", num_classes=3)
    ours.load_state_dict(stock.state_dict())
    ours.eval()
    rows = tokens()
    for asked in ({}, {"features_only": True}, {"classification_head_name": "topics"}):
        assert torch.allclose(ours(rows, **asked)[0], stock(rows, **asked)[0], atol=1e-5)
    ours(rows)[0].square().sum().backward()
    learning = [name for name, p in ours.named_parameters() if "position" in name]
    assert learning and any(p.grad.any() for n, p in ours.named_parameters() if n in learning)


def test_weights_alone_are_loaded_whatever_the_normalisation_adds():
    """A state dict says nothing about the options of its model."""
    model = make_roberta("floater_roberta_minilm")
    assert model.options["layer_norm_eps"] == 1e-12
    model.load_state_dict(model.state_dict())


def test_old_names_of_weights_and_heads(stock):
    """Published checkpoints use ``decoder`` and ``emb_layer_norm``; a head is left out."""
    old = {
        name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm"): w
        for name, w in stock.state_dict().items()
    }
    ours = make_roberta(seed=1)
    ours.load_state_dict(old)
    assert torch.allclose(ours(tokens())[0], stock(tokens())[0], atol=1e-5)
    assert not ours.classification_heads


def test_bert_initialises_all_but_the_positions():
    """The oscillators stay as they start, and the table at the input is BERT's."""
    ours = make_roberta(max_positions=2000)
    encoder = ours.encoder.sentence_encoder.position_encoder
    expected = build_dynamics(PositionOptions(), SIZES["encoder_embed_dim"]).state_dict()
    for name, weight in encoder.dynamics.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    assert not encoder.initial.any()
    table = ours.encoder.sentence_encoder.input_encoder.table
    assert 0.019 < float(table.detach().std()) < 0.021
    for blocks in ("input", "all"):
        learned = make_roberta(
            max_positions=2000, position_encoder="learned", position_blocks=blocks
        )
        added = learned.encoder.sentence_encoder.position_encoder.table
        assert 0.019 < float(added.detach().std()) < 0.021
        assert torch.equal(added[0], table[0]) or blocks == "all"
    assert 0.015 < float(ours.encoder.sentence_encoder.layers[0].fc1.weight.detach().std()) < 0.025


@pytest.mark.parametrize(
    "options",
    [
        *EXACT,
        {"position_encoder": "rotary"},
        {"position_encoder": "fire"},
        {"position_injection": "rotation"},
        {"base_positions": "rotary"},
    ],
    ids=str,
)
def test_all_else_starts_alike_whatever_the_positions(options):
    """For the same seed, this includes heads that the task adds."""
    starts = []
    for chosen in ({"position_encoder": "none"}, options):
        model = make_roberta(seed=5, **chosen)
        model.register_classification_head("topics", num_classes=3)
        starts.append(model.state_dict())
    none, ours = starts
    for name, weight in none.items():
        assert torch.equal(weight, ours[name]), name


def test_the_longest_input_is_what_its_tables_hold():
    """A shift takes up room in the table; without a table there is no limit."""
    shifted = make_roberta(position_shift=8)
    assert shifted.max_positions() == 12 and make_roberta().max_positions() == 20
    shifted(torch.full((1, 12), 5))
    with pytest.raises(UserError, match="positions up to 21 are asked for, but the learned"):
        shifted(torch.full((1, 13), 5))
    assert make_roberta(position_encoder="rotary").max_positions() > 10**6


@pytest.mark.parametrize(
    "options", [{}, {"position_encoder": "rotary"}, {"position_injection": "scores"}], ids=str
)
def test_neither_pads_nor_other_rows_matter(options):
    ours = make_roberta(**options)
    with torch.no_grad():
        for weight in ours.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    rows = tokens()
    together = ours(rows, features_only=True)[0]
    for row, features in zip(rows, together):
        alone = ours(row[row.ne(1)].unsqueeze(0), features_only=True)[0][0]
        assert torch.allclose(features[: len(alone)], alone, atol=1e-5)
    swapped = rows[:, [1, 0, *range(2, 9)]]
    assert (ours(swapped, features_only=True)[0] - together)[:, 2:].abs().max() > 1e-3


def test_what_does_not_fit_is_named(stock):
    weights = Weights.of(stock.state_dict(), "roberta.pt", {"arch": "roberta", **SIZES})
    ours = make_roberta(base_positions="sinusoidal")
    with pytest.raises(UserError, match="roberta.pt does not fit .* encoder has learned positions"):
        ours.load_state_dict(weights)
    for options, message in (
        ({"position_attention": "cross"}, "--position-attention cross has no attention to act in"),
        ({"max_positions": 0}, "--max-positions must be >= 1, got 0"),
        ({"max_positions": 10**7}, "--max-positions must be at most 1,000,000, got 10000000"),
        ({"encoder_layers_to_keep": "0,2"}, "--encoder-layers-to-keep is 0,2, but the encoder has"),
        ({"encoder_attention_heads": 0}, "--encoder-attention-heads must be >= 1, got 0"),
    ):
        with pytest.raises(UserError, match=message):
            make_roberta(**options)


def test_only_the_table_at_the_input_ends():
    long = torch.randint(4, 27, (1, 30))
    with pytest.raises(UserError, match="encoder: .* 20"):
        make_roberta()(long)
    for options in ({"position_encoder": "rotary"}, {"base_positions": "sinusoidal"}):
        assert make_roberta(**options)(long, features_only=True)[0].shape == (1, 30, 16)


@pytest.mark.parametrize(
    "arch, sizes", [("minilm", (6, 384, 1536, 12)), ("large", (24, 1024, 4096, 16))]
)
def test_architectures(arch, sizes):
    args = Namespace()
    ARCH_CONFIG_REGISTRY[f"floater_roberta_{arch}"](args)
    names = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
    assert tuple(getattr(args, f"encoder_{name}") for name in names) == sizes
    assert args.layernorm_embedding and args.activation_fn == "gelu"


@pytest.mark.parametrize("strict", [True, False])
def test_a_longer_table_changes_nothing_as_far_as_the_base_model_reads(strict, stock):
    """With --store-ema, fairseq loads the base model's averages, and not strictly."""
    ours = make_roberta(max_positions=30, extend_base_positions=True)
    ours.load_state_dict(stock.state_dict(), strict)
    assert torch.allclose(ours(tokens())[0], stock(tokens())[0], atol=1e-5)
    table = ours.encoder.sentence_encoder.input_encoder.table[0]
    assert torch.equal(table[20:], table[19:20].expand(10, -1))


def test_tables_at_all_blocks_can_be_longer_too():
    options = {"position_encoder": "learned"}
    base = make_roberta(**options)
    ours = make_roberta(max_positions=30, extend_base_positions=True, **options)
    ours.load_state_dict(base.state_dict())
    assert torch.equal(ours(tokens())[0], base(tokens())[0])
    table = ours.encoder.sentence_encoder.position_encoder.table
    assert len(table) == 2 and torch.equal(table[:, 20:], table[:, 19:20].expand(-1, 10, -1))


def test_its_learned_positions_are_inspected(tmp_path, capsys):
    """Their limit has a different name from that of a Transformer's encoder."""
    positions = {"position_encoder": "learned", "position_injection": "bias"}
    weights = make_roberta(**positions).state_dict()
    args = Namespace(arch="floater_roberta", **SIZES, **positions)
    torch.save({"model": weights, "args": args}, tmp_path / "a.pt")
    assert cli.main(["inspect", str(tmp_path / "a.pt"), "--length", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["max_positions"] == 20
