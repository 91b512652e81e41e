"""RoBERTa with positions: what it starts from, what it equals, and what it refuses."""

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from commands import COMMON
from conftest import make_task
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.roberta import RobertaModel
from launching import run, succeed
from places import ROOT

from fairseq_floater import cli
from fairseq_floater.checkpoints.convert import convert
from fairseq_floater.encoders import build_dynamics
from fairseq_floater.errors import UserError
from fairseq_floater.models.floater_roberta import FloaterRobertaModel
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
    with pytest.raises(UserError, match="input of 21 positions, but the learned"):
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


SHAPE = "--encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32".split()
TRAIN = [
    *COMMON,
    *SHAPE,
    *"--encoder-attention-heads 2 --optimizer adam --lr 0.001 --batch-size 8".split(),
    *"--no-epoch-checkpoints --log-interval 1 --required-batch-size-multiple 1".split(),
]


def text(folder, lines):
    """Preprocess ``lines`` into a data folder of fairseq for masked LM, and return it."""
    folder.mkdir()
    for split in ("train", "valid"):
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
    data = folder / "bin"
    succeed(
        *("preprocess", "--only-source", "--destdir", data),
        *("--trainpref", folder / "train", "--validpref", folder / "valid"),
    )
    return data


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Data of 40 lines, and fairseq's own RoBERTa trained on it for four updates."""
    folder = tmp_path_factory.mktemp("masked")
    generator = torch.Generator().manual_seed(0)
    lines = [
        " ".join(f"w{n}" for n in torch.randint(0, 10, (8,), generator=generator).tolist())
        for _ in range(40)
    ]
    data, saved = text(folder / "text", lines), folder / "stock"
    stock = [part for part in TRAIN if part not in COMMON[:2]]  # without the plugin
    lm = ["--task", "masked_lm", "--criterion", "masked_lm", "--tokens-per-sample", 24]
    command = ["train", data, *stock, *lm, "--arch", "roberta"]
    succeed(*command, "--max-update", 4, "--save-dir", saved)
    return data, lm, saved / "checkpoint_last.pt"


def test_masked_lm_goes_on_from_fairseqs_own(masked, tmp_path):
    """Positions alone are trained on the command line; then the hub interface reads the model."""
    data, lm, stock = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta"]  # as long as its samples
    done = succeed(
        *(*command, "--finetune-from-model", stock, "--freeze-base", "--max-update", 4),
        *("--save-dir", tmp_path),
    )
    assert len(done.losses()) == 4
    before = torch.load(stock, weights_only=True)["model"]
    after = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["model"]
    changed = [name for name in before if name in after and not before[name].equal(after[name])]
    assert changed == [] and after["encoder.sentence_encoder.position_encoder.initial"].any()
    described = succeed("floater", "inspect", tmp_path / "checkpoint_last.pt", "--length", 24).out
    assert "encoder tracks" in described and "solver's relative error" in described
    last, other = tmp_path / "checkpoint_last.pt", tmp_path / "other.pt"
    refused = run("floater", "export", last, other, "--to", "torch")
    assert refused.returncode == 1 and "this is for a transformer" in refused.last_error_line
    succeed("floater", "convert", stock, other)
    kept = torch.load(other, weights_only=True)["model"]
    assert all(weight.equal(kept[name]) for name, weight in before.items() if name in kept)
    assert not kept["encoder.sentence_encoder.position_encoder.initial"].any()
    assert "of the encoder" in succeed("floater", "bake", last, "--out", other).out
    assert "positions baked in" in succeed("floater", "inspect", other, "--length", 24).out
    succeed("floater", "average", last, other, "--out", tmp_path / "mean.pt")
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)["model"]
    assert all(torch.allclose(mean[name], weight) for name, weight in after.items())
    hub = FloaterRobertaModel.from_pretrained(
        str(tmp_path), "checkpoint_last.pt", str(data), bpe="characters"
    )
    row = torch.tensor([[0, 5, 6, 7, 2]])
    assert hub.extract_features(row).shape == (1, 5, 16)
    assert isinstance(hub.model, FloaterRobertaModel) and isinstance(hub.model, RobertaModel)


def test_masked_lm_on_single_sentences(masked, tmp_path):
    """fairseq's blocks of one sentence each ask for a name that numpy 2 does not have."""
    data, lm, _ = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta", "--max-update", 2]
    done = succeed(*command, "--sample-break-mode", "eos", "--save-dir", tmp_path)
    assert len(done.losses()) == 2


def test_losses_by_the_length_of_blocks(masked, monkeypatch, capsys):
    """In blocks of the model's own length, a separate pass gives the last loss of the training."""
    data, _, stock = masked
    monkeypatch.syspath_prepend(str(ROOT / "recipes/benchmarks"))
    program = importlib.import_module("block_lengths")

    def forked(command, **_):
        done = run(Path(command[0]).name.removeprefix("fairseq-"), *command[1:])
        return Namespace(returncode=done.returncode, stdout=done.out, stderr=done.err)

    monkeypatch.setattr(program.subprocess, "run", forked)
    arguments = [data, f"stock={stock}", "--limit", 24, "--lengths"]
    monkeypatch.setattr(sys, "argv", ["block_lengths", *map(str, [*arguments, 12, 24])])
    program.main()
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| stock")]
    known = torch.load(stock, weights_only=True)["extra_state"]["val_loss"]
    shorter, whole = (float(cell) for cell in row.split("|")[2:4])
    assert whole == pytest.approx(known, abs=0.005) and shorter != whole
    monkeypatch.setattr(
        sys, "argv", ["block_lengths", str(data), f"stock={stock}", "--lengths", "4"]
    )
    with pytest.raises(SystemExit, match="at 4: "):
        program.main()


def test_its_learned_positions_are_inspected(tmp_path, capsys):
    """Their limit has a different name from that of a Transformer's encoder."""
    positions = {"position_encoder": "learned", "position_injection": "bias"}
    weights = make_roberta(**positions).state_dict()
    args = Namespace(arch="floater_roberta", **SIZES, **positions)
    torch.save({"model": weights, "args": args}, tmp_path / "a.pt")
    assert cli.main(["inspect", str(tmp_path / "a.pt"), "--length", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["max_positions"] == 20


def test_trained_heads_are_converted_too(masked, tmp_path, caplog):
    state = torch.load(masked[2], weights_only=True)
    heads = {"dense.weight": torch.randn(16, 16), "out_proj.weight": torch.randn(2, 16)}
    heads = {f"classification_heads.rte.{name}": weight for name, weight in heads.items()}
    state["model"] |= heads
    torch.save(state, tmp_path / "base.pt")
    convert(tmp_path / "base.pt", tmp_path / "out.pt", {})
    converted = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    assert all(weight.equal(converted[name]) for name, weight in heads.items())
    assert "deleting" not in caplog.text  # fairseq would have left them out


def test_a_longer_table_than_that_of_the_base_model(masked, stock, tmp_path):
    """It is refused without the flag. With it, nothing changes as far as the base model reads."""
    data, lm, checkpoint = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta", "--max-positions", 30]
    command += ["--finetune-from-model", checkpoint, "--save-dir", tmp_path, "--max-update", 1]
    done = run(*command)
    assert (
        done.returncode == 1 and "--extend-base-positions continues where" in done.last_error_line
    )
    assert "is 1 x 24 x 16 there, 1 x 30 x 16 here" in done.last_error_line
    succeed(*command, "--extend-base-positions")

    ours = make_roberta(max_positions=30, extend_base_positions=True)
    ours.load_state_dict(stock.state_dict())
    assert torch.allclose(ours(tokens())[0], stock(tokens())[0], atol=1e-5)
    table = ours.encoder.sentence_encoder.input_encoder.table[0]
    assert torch.equal(table[20:], table[19:20].expand(10, -1))


@pytest.fixture(scope="module")
def topics(masked, tmp_path_factory):
    """Sentences in the words of ``masked``, labelled by whether they begin with a small number."""
    folder = tmp_path_factory.mktemp("topics")
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 10, (40, 6), generator=generator).tolist()
    lines = {
        "input0": [" ".join(f"w{n}" for n in row) for row in rows],
        "label": ["small" if row[0] < 5 else "large" for row in rows],
    }
    for name, texts in lines.items():
        for split in ("train", "valid"):
            (folder / f"{split}.{name}").write_text("".join(f"{line}\n" for line in texts))
        words = ["--srcdict", masked[0] / "dict.txt"] if name == "input0" else []
        succeed(
            *("preprocess", "--only-source", "--destdir", folder / "bin" / name, *words),
            *("--trainpref", folder / f"train.{name}", "--validpref", folder / f"valid.{name}"),
        )
    return folder / "bin"


def test_a_head_that_a_task_gives_is_trained_alone(masked, topics, tmp_path):
    """The head for masked words, which exists already, is not trained."""
    task = "--task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token"
    command = ["train", topics, *TRAIN, *task.split(), 0, "--separator-token", 2]
    command += ["--arch", "floater_roberta", "--max-positions", 24, "--max-update", 2]
    command += ["--finetune-from-model", masked[2], "--save-dir", tmp_path, "--train-only"]
    succeed(*command, "classification_heads")
    before, after = (
        torch.load(path, weights_only=True)["model"]
        for path in (masked[2], tmp_path / "checkpoint_last.pt")
    )
    shared = [name for name in before if name in after and name.endswith(("weight", "bias"))]
    assert len(shared) > 20 and all(torch.equal(before[name], after[name]) for name in shared)
    done = run(*command, "heads_of_nothing")
    assert "--train-only heads_of_nothing matches no parameter" in done.last_error_line


@pytest.mark.parametrize("positions", [[], ["--position-encoder", "rotary"]], ids=str)
def test_fine_tuning(positions, masked, topics, tmp_path):
    """All of a stock model and a new head are trained until they find the position that decides."""
    task = "--task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token"
    command = ["train", topics, *TRAIN, *task.split(), 0, "--separator-token", 2]
    command += ["--arch", "floater_roberta", "--max-positions", 24, *positions]
    command[command.index("--lr") + 1] = 0.01
    done = succeed(
        *(*command, "--finetune-from-model", masked[2], "--max-epoch", 12, "--seed", 3),
        *("--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"),
        *("--save-dir", tmp_path),
    )
    losses = done.losses("valid")
    assert losses[-1] < 0.6 * losses[0]
    hub = FloaterRobertaModel.from_pretrained(
        str(tmp_path), "checkpoint_best.pt", str(topics), bpe="characters"
    )
    hub.eval()
    source = hub.task.source_dictionary
    labels = hub.task.label_dictionary
    right = 0
    for line, wanted in zip(
        (topics.parent / "valid.input0").read_text().splitlines(),
        (topics.parent / "valid.label").read_text().split(),
    ):
        row = source.encode_line(f"<s> {line}", add_if_not_exist=False).long()
        found = int(hub.predict("sentence_classification_head", row).argmax())
        right += labels.symbols[found + labels.nspecial] == wanted
    assert right >= 30
