"""Exported models compute the same as the originals, without this plugin."""

import math
import subprocess
import sys
import sysconfig
from argparse import Namespace
from dataclasses import fields
from pathlib import Path

import ctranslate2
import pytest
import torch
from commands import GENERATION
from conftest import WITHIN, make_batch, make_model, make_task
from fairseq import checkpoint_utils
from fairseq.models import build_model
from fairseq.models.transformer import TransformerModel
from launching import succeed
from places import PLUGIN

from fairseq_floater import cli
from fairseq_floater.checkpoints.convert import convert
from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.program import WholeModel, export_program, trace
from fairseq_floater.checkpoints.export.stock import export_stock
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.errors import UserError
from fairseq_floater.options import PositionOptions

pytest_plugins = ["commands"]

INPUT = {"position_blocks": "input", "position_injection": "additive"}
FLOATER = {"position_encoder": "floater", **INPUT}
SHORT = {"max_source_positions": 40, "max_target_positions": 40}

#: models that stock fairseq can take over
FOR_STOCK = {
    "floater": FLOATER,
    "shared": {**FLOATER, "share_dynamics": "all"},
    "rnn": {"position_encoder": "rnn", **INPUT},
    "learned": {"position_encoder": "learned", **INPUT, **SHORT},
    "sinusoidal": {"position_encoder": "sinusoidal", "position_blocks": "input"},
    "none": {"position_encoder": "none"},
    "widths": {**FLOATER, "decoder_embed_dim": 24, "decoder_output_dim": 24},
}

#: lengths of sources and targets, and the sides of their pads (left: True)
BATCHES = [
    ((5, 9, 3), (7, 4, 6), True, False),
    ((5, 9, 3), (7, 4, 6), False, True),
    ((1,), (1,), True, False),
    ((17, 2), (30, 1), True, True),
]


@pytest.fixture
def checkpoint(trained, tmp_path):
    """Return a function that saves a model in a checkpoint like fairseq's, and returns its path."""

    def save(model):
        state = read_checkpoint(str(trained["floater"][0]))
        state["model"] = model.state_dict()
        state["cfg"]["model"] = {**model.options, "_name": "floater_transformer"}
        torch.save(state, tmp_path / "checkpoint.pt")
        return tmp_path / "checkpoint.pt"

    return save


SEARCH = [*GENERATION, "--unnormalized", "--min-len", 0]


@pytest.fixture(scope="module")
def tabled(corpus, trained, tmp_path_factory):
    """A trained model with a table at the input, made from sinusoids, and its translations."""
    path = tmp_path_factory.mktemp("tabled") / "tabled.pt"
    convert(trained["stock"][0], path, {"position_encoder": "learned", **INPUT})
    return path, succeed("generate", corpus, *SEARCH, "--path", path)


@pytest.fixture(scope="module")
def stock(tabled, tmp_path_factory):
    """The same checkpoint, exported for fairseq without the plugin."""
    path = tmp_path_factory.mktemp("stock") / "stock.pt"
    assert cli.main(["export", str(tabled[0]), str(path), "--to", "fairseq"]) == 0
    return path


def logits(model, batch):
    lengths, target_lengths, left_pad, left_pad_target = batch
    arguments = make_batch(
        lengths, target_lengths, left_pad=left_pad, left_pad_target=left_pad_target
    )
    with torch.no_grad():
        found = model(*arguments.values())
    return found[0] if isinstance(found, tuple) else found


def load_stock(path):
    """Load a checkpoint as fairseq does."""
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    model = build_model(state["cfg"].model, make_task())
    model.load_state_dict(state["model"], strict=True)
    return model.eval()


@pytest.mark.parametrize("options", FOR_STOCK.values(), ids=FOR_STOCK)
def test_stock_fairseq_computes_the_same_logits(options, checkpoint, tmp_path):
    ours = make_model(**options)
    export_stock(checkpoint(ours), tmp_path / "stock.pt")
    stock = load_stock(tmp_path / "stock.pt")
    assert type(stock) is TransformerModel
    for batch in [BATCHES[0], ((35, 4), (6, 38), True, False)]:
        assert (logits(stock, batch) - logits(ours, batch)).abs().max() < 2e-6


def test_stock_translates_the_same_without_the_plugin(corpus, tabled, stock):
    flags = [part for part in SEARCH if part not in ("--user-dir", PLUGIN)]
    assert len(flags) == len(SEARCH) - 2
    found = succeed("generate", corpus, *flags, "--path", stock).hypotheses()
    assert found == tabled[1].hypotheses() and len(found) == 12


def test_ctranslate2_translates_the_same(corpus, tabled, stock, tmp_path):
    """Its own converter is used, without any flag that lets it read more than plain data.

    fairseq forbids an early end after the softmax, CTranslate2 before it. Scores are the same only
    where neither does so.
    """
    converter = Path(sysconfig.get_path("scripts")) / "ct2-fairseq-converter"
    flags = ["--model_path", stock, "--data_dir", corpus, "--output_dir", tmp_path / "model"]
    succeed(converter, *flags)
    translator = ctranslate2.Translator(str(tmp_path / "model"), intra_threads=1)
    numbers, sources = zip(*tabled[1].lines("S").items())
    results = translator.translate_batch(
        [source.split() for source in sources],
        beam_size=5,
        length_penalty=0,
        min_decoding_length=0,
        max_decoding_length=200,
        return_scores=True,
    )
    for number, result in zip(numbers, results):
        score, text = tabled[1].hypotheses()[number]
        assert result.hypotheses[0] == text.split()
        assert abs(result.scores[0] - score * math.log(2)) < 1e-4


def test_stock_checkpoint_holds_nothing_of_ours(trained, stock):
    state, theirs = (read_checkpoint(str(path)) for path in (stock, trained["stock"][0]))
    assert state["cfg"].keys() == theirs["cfg"].keys() and state.keys() == theirs.keys()
    tables = {f"{stack}.embed_positions.weight" for stack in ("encoder", "decoder")}
    assert state["model"].keys() == theirs["model"].keys() | tables
    options, expected = state["cfg"]["model"], vars(theirs["cfg"]["model"])
    assert vars(options) == dict(options)
    ours = {f.name for f in fields(PositionOptions)} - {"_name"}
    assert ours.isdisjoint(options)
    differing = {n for n in options if n in expected and options[n] != expected[n]}
    assert differing == {"encoder_learned_pos", "decoder_learned_pos"}


def test_rows_of_the_table(checkpoint, tmp_path):
    """fairseq's learned positions start after the pad's row, 1."""
    model = make_model(**FLOATER)
    assert export_stock(checkpoint(model), tmp_path / "stock.pt", 50) == Lengths(50, 50)
    state = read_checkpoint(str(tmp_path / "stock.pt"))
    table = state["model"]["decoder.embed_positions.weight"]
    with torch.no_grad():
        assert torch.equal(table[2:], model.decoder.position_encoder(50)[0])
    assert not table[:2].any()
    for part in ("model", "task"):
        assert state["cfg"][part]["max_source_positions"] == 50
    assert state["last_optimizer_state"] is None and state["cfg"]["common"]["user_dir"] is None
    assert load_stock(tmp_path / "stock.pt").max_positions() == (50, 50)


def test_a_criterion_of_the_plugin_is_that_of_fairseq_with_the_same_loss(checkpoint, tmp_path):
    path = checkpoint(make_model(position_encoder="learned", **INPUT))
    state = read_checkpoint(str(path))
    state["cfg"]["criterion"] = {"_name": "floater_cross_entropy", "label_smoothing": 0.1}
    state["cfg"]["model"] |= {"criterion": "floater_cross_entropy", "user_dir": "/of/training"}
    torch.save(state, path)
    export_stock(path, tmp_path / "stock.pt")
    cfg = read_checkpoint(str(tmp_path / "stock.pt"))["cfg"]
    wanted = "label_smoothed_cross_entropy"
    assert cfg["criterion"] == {"_name": wanted, "label_smoothing": 0.1}
    assert cfg["model"]["criterion"] == wanted and cfg["model"]["user_dir"] is None


def test_options_of_an_argparse_namespace(checkpoint, trained, tmp_path):
    """Versions of fairseq from before 2020 saved them in this way, in args instead of cfg."""
    ours = make_model(position_encoder="learned", **INPUT)
    state = read_checkpoint(str(checkpoint(ours)))
    arguments = vars(read_checkpoint(str(trained["stock"][0]))["cfg"]["model"])
    state["args"] = Namespace(**{**arguments, **ours.options, "arch": "floater_transformer"})
    state["cfg"] = None
    torch.save(state, tmp_path / "old.pt")
    export_stock(tmp_path / "old.pt", tmp_path / "stock.pt")
    stock = load_stock(tmp_path / "stock.pt")
    assert (logits(stock, BATCHES[0]) - logits(ours, BATCHES[0])).abs().max() < 2e-6


def test_blocks_that_were_taken_out_stay_out(checkpoint, tmp_path):
    layers = {"encoder_layers": 3, "encoder_layers_to_keep": [0, 2], "decoder_layers_to_keep": [1]}
    ours = make_model(position_encoder="learned", **INPUT, **layers)
    export_stock(checkpoint(ours), tmp_path / "stock.pt")
    stock = load_stock(tmp_path / "stock.pt")
    assert (len(stock.encoder.layers), len(stock.decoder.layers)) == (2, 1)
    assert (logits(stock, BATCHES[0]) - logits(ours, BATCHES[0])).abs().max() < 2e-6


def test_options_of_a_legacy_task(checkpoint, tmp_path):
    """fairseq keeps those of a task such as translation_multi_simple_epoch as a Namespace."""
    path = checkpoint(make_model(**FLOATER))
    state = read_checkpoint(str(path))
    state["cfg"]["task"] = Namespace(**state["cfg"]["task"])
    torch.save(state, path)
    export_stock(path, tmp_path / "stock.pt", 50)
    task = read_checkpoint(str(tmp_path / "stock.pt"))["cfg"]["task"]
    assert task["_name"] == "translation" and task["max_source_positions"] == 50


REFUSED_BY_STOCK = {
    "bias": ({}, "floater with biases of queries, keys and values"),
    "all blocks": (
        {"position_encoder": "rnn", "position_injection": "additive"},
        "rnn with vectors added at all blocks",
    ),
    "sinusoids": (
        {"position_encoder": "sinusoidal"},
        "sinusoidal with vectors added at all blocks",
    ),
    "rotary": (
        {"position_encoder": "rotary"},
        "rotary with rotation within attention (--position-injection rotation)",
    ),
    "shifted": (
        {"position_encoder": "sinusoidal", "position_blocks": "input", "position_shift": 9},
        "sinusoidal with positions that start at 9 (--position-shift)",
    ),
    "scaled": (
        {"position_encoder": "none", "attention_log_scale": 9.0},
        "none with logits that grow with the length (--attention-log-scale)",
    ),
}


@pytest.mark.parametrize("options, reason", REFUSED_BY_STOCK.values(), ids=REFUSED_BY_STOCK)
def test_stock_has_no_place_for_the_rest(options, reason, checkpoint, tmp_path, capsys):
    out = tmp_path / "stock.pt"
    arguments = ["export", str(checkpoint(make_model(**options))), str(out), "--to", "fairseq"]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert "use --to huggingface, onnx or torch" in error
    assert not out.exists()


def test_a_learned_table_is_not_made_longer(checkpoint, tmp_path):
    path = checkpoint(make_model(position_encoder="learned", **INPUT, **SHORT))
    for export in (export_stock, export_program):
        with pytest.raises(UserError, match="--positions is 41, but a learned table .* after 40"):
            export(path, tmp_path / "out", 41)
    assert export_stock(path, tmp_path / "out") == Lengths(40, 40)
    assert export_stock(path, tmp_path / "out", 30) == Lengths(30, 30)
    with pytest.raises(UserError, match="inputs of 4 tokens .*: ask for at least --positions 5"):
        export_program(path, tmp_path / "short.pt2", 4)
    assert not (tmp_path / "short.pt2").exists()


TWO = {"encoder_layers": 2}  # blocks with positions of their own

#: every encoder, injection and choice of blocks, and everything else that changes a program
PROGRAMS = {
    "floater biases": TWO,
    "rnn biases at the input": {
        "position_encoder": "rnn",
        "position_blocks": "input",
        "position_injection": "bias",
    },
    "learned at all blocks": {"position_encoder": "learned", **SHORT, **TWO},
    "sinusoids at the input": FOR_STOCK["sinusoidal"],
    "none": FOR_STOCK["none"],
    "learned base": {"encoder_learned_pos": True, "decoder_learned_pos": True, **SHORT},
    "no base, no cross-attention, widths": {
        **{"no_token_positional_embeddings": True, "no_cross_attention": True},
        **{"decoder_input_dim": 8, "decoder_output_dim": 24, "layernorm_embedding": True},
    },
}


#: every form of positions within attention
PROGRAMS |= {
    "shaw": WITHIN["shaw"],
    "fire": WITHIN["fire"],
    "floater rotation": WITHIN["floater rotation"],
    "floater on relative bias, shifted, scaled": {
        "base_positions": "relative-bias",
        **WITHIN["shifted, scaled"],
    },
}


@pytest.mark.parametrize("options", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_compute_the_same_logits(options):
    """The lengths differ from the traced ones, and pads are on either side."""
    model = make_model(**{"encoder_layers": 1, "decoder_layers": 1, **options})
    wanted = [logits(model, batch) for batch in BATCHES]
    program = trace(WholeModel(model, 40)).module()
    for batch, expected in zip(BATCHES, wanted):
        assert (logits(program, batch) - expected).abs().max() < 1e-5


ALONE = """
import sys
sys.modules["fairseq"] = sys.modules["fairseq_floater"] = None  # importing them fails
import torch
program = torch.export.load(sys.argv[1]).module()
batches = torch.load(sys.argv[2])
print(max((program(*tokens) - logits).abs().max().item() for tokens, logits in batches))
try:
    program(torch.full((1, 51), 4), torch.full((1,), 51), torch.full((1, 2), 4))
except AssertionError as error:
    print(error)
"""


def test_a_program_runs_without_fairseq(checkpoint, tmp_path):
    model = make_model(encoder_layers=1, decoder_layers=1, encoder_layerdrop=0.5)
    path, out = checkpoint(model), tmp_path / "program.pt2"
    assert cli.main(["export", str(path), str(out), "--to", "torch", "--positions", "50"]) == 0
    batches = [make_batch(*sizes[:2]) for sizes in BATCHES]
    with torch.no_grad():
        pairs = [(tuple(batch.values()), model(**batch)[0]) for batch in batches]
    torch.save(pairs, tmp_path / "batches.pt")
    command = [sys.executable, "-c", ALONE, out, tmp_path / "batches.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    difference, too_long = done.stdout.strip().splitlines()
    assert float(difference) < 1e-5
    assert "src_tokens" in too_long and "<= 50" in too_long
    assert b"export/program.py" not in out.read_bytes()  # no paths of this machine


def test_the_decoders_table_serves_the_source_too():
    learned = {"encoder_learned_pos": True, "decoder_learned_pos": True}
    short = {**learned, "max_source_positions": 40, "max_target_positions": 12}
    assert WholeModel(make_model(**short)).lengths == Lengths(12, 12)
    assert WholeModel(make_model(**short, no_cross_attention=True)).lengths == Lengths(40, 12)


def test_an_adaptive_softmax_gives_no_logits(checkpoint, tmp_path):
    path = checkpoint(make_model(adaptive_softmax_cutoff="10", **SHORT))
    with pytest.raises(UserError, match="its --adaptive-softmax-cutoff gives no logits"):
        export_program(path, tmp_path / "out.pt2")


def test_times_between_the_rows_are_refused(checkpoint, tmp_path):
    path = checkpoint(make_model(**FLOATER, position_times="sentences"))
    for export in (export_stock, export_program):
        with pytest.raises(UserError, match="cannot be exported: its --position-times sentences"):
            export(path, tmp_path / "out")
