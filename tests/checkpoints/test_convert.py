"""A trained base model is converted to a floater_transformer checkpoint that computes the same."""

import pytest
import torch
from commands import GENERATION, TRAINING
from conftest import make_batch, make_stock, make_task
from launching import run, succeed
from saved import save_floater

from fairseq_floater.checkpoints.convert import convert
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

POSITIONS = {
    "default": {},
    "input": {"position_blocks": "input"},
    "random, damped": {
        **{"dynamics": "mlp", "dynamics_init": "random", "dynamics_damping": 0.5},
        "position_delta": 0.2,
    },
    "rnn": {"position_encoder": "rnn", "position_injection": "bias"},
    "learned": {"position_encoder": "learned"},
    "sinusoidal": {"position_encoder": "sinusoidal", "position_blocks": "input"},
}


def stock_of(checkpoint):
    """Return the stock model of a checkpoint of the toy corpus, to compute its logits."""
    state = read_checkpoint(str(checkpoint))
    args = {k: v for k, v in vars(state["cfg"]["model"]).items() if "embed" in k or "layers" in k}
    words = len(state["model"]["encoder.embed_tokens.weight"])
    model = make_stock(make_task(words - 4), **args)
    model.load_state_dict(state["model"])
    return model


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_logits_are_those_of_the_base(positions, trained, tmp_path):
    base = trained["stock"][0]
    convert(base, tmp_path / "floater.pt", positions)
    state, config, model = load_model(tmp_path / "floater.pt")
    assert state["last_optimizer_state"] is None
    assert config.position_delta == positions.get("position_delta", 0.1)
    words = model.encoder.embed_tokens.num_embeddings
    batch = {name: tokens.clamp(max=words - 1) for name, tokens in make_batch().items()}
    with torch.no_grad():
        assert (model(**batch)[0] - stock_of(base)(**batch)[0]).abs().max() < 1e-5


def test_a_learned_base_encoding_becomes_a_learned_table(trained, tmp_path):
    """The new table takes its place, so the flag that chose it is not set in the new model."""
    state = read_checkpoint(str(trained["stock"][0]))
    options = {"encoder_learned_pos": True, "decoder_learned_pos": True}
    vars(state["cfg"]["model"]).update(options, max_source_positions=30, max_target_positions=30)
    shape = {k: v for k, v in vars(state["cfg"]["model"]).items() if "embed" in k or "layers" in k}
    words = len(state["model"]["encoder.embed_tokens.weight"])
    limits = {"max_source_positions": 30, "max_target_positions": 30}
    stock = make_stock(make_task(words - 4), **{**shape, **options, **limits})
    state["model"] = stock.state_dict()
    torch.save(state, tmp_path / "base.pt")
    positions = {"position_encoder": "learned", "position_blocks": "input"}
    convert(tmp_path / "base.pt", tmp_path / "floater.pt", positions)
    model = load_model(tmp_path / "floater.pt").model
    batch = {name: tokens.clamp(max=words - 1) for name, tokens in make_batch().items()}
    with torch.no_grad():
        assert (model(**batch)[0] - stock(**batch)[0]).abs().max() < 1e-5


def test_half_precision_stays_half(trained, tmp_path):
    state = read_checkpoint(str(trained["stock"][0]))
    state["model"] = {
        name: weight.half() if weight.is_floating_point() else weight
        for name, weight in state["model"].items()
    }
    torch.save(state, tmp_path / "half.pt")
    convert(tmp_path / "half.pt", tmp_path / "floater.pt", {})
    weights = read_checkpoint(str(tmp_path / "floater.pt"))["model"]
    assert {w.dtype for w in weights.values()} == {torch.half}


def test_command_translates_and_trains_on(corpus, trained, tmp_path):
    base = trained["stock"][0]
    out = tmp_path / "floater.pt"
    flags = ["--position-delta", 0.2, "--dynamics-activation", "sin"]
    flags += ["--dynamics-init", "random", "--dynamics-init-scale", 0]  # a 0, not the default
    result = run("floater", "convert", base, out, "--arch", "floater_transformer", *flags)
    assert "--encoder-embed-dim is 16 there, 512 here" in result.err and not out.exists()
    result = run("floater", "convert", base, out, *flags)
    assert result.returncode == 0, result.err
    written = read_checkpoint(str(out))["cfg"]["model"]
    assert (written["dynamics_activation"], written["dynamics_init_scale"]) == ("sin", 0.0)
    stock = succeed("generate", corpus, *GENERATION, "--path", base)
    ours = succeed("generate", corpus, *GENERATION, "--path", out)
    for number, (score, text) in stock.hypotheses().items():
        assert ours.hypotheses()[number] == (pytest.approx(score, abs=1e-4), text)
    train = ["train", corpus, *TRAINING, "--arch", "floater_transformer", *flags]
    resumed = [*train, "--finetune-from-model", out, "--max-update", 1, "--save-dir", tmp_path]
    assert abs(succeed(*resumed).losses()[0] - trained["stock"][1].losses()[-1]) < 0.5


MISTAKES = {
    "not there": (["nowhere.pt"], "no checkpoint at nowhere.pt"),
    "range": (["BASE", "--position-delta", "-1"], "--position-delta must be between 1e-6"),
    "shift": (
        ["BASE", "--position-shift", 9],
        "--position-shift is 0 there, 9 here: in evaluation, sentences start at position 9",
    ),
    "no place": (
        ["BASE", "--position-injection", "additive"],
        "its encoder has sinusoidal positions at the input, this one floater at all blocks",
    ),
    "arch": (["BASE", "--arch", "transformer"], "no architecture transformer: choose from floater"),
}


@pytest.mark.parametrize("arguments, message", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(arguments, message, trained, tmp_path):
    arguments = [trained["stock"][0] if a == "BASE" else a for a in arguments]
    result = run("floater", "convert", arguments[0], tmp_path / "out.pt", *arguments[1:])
    assert result.returncode == 1 and message in result.err, result.err
    assert len(result.err.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_model_of_ours_with_trajectories_is_refused(trained, tmp_path):
    for positions in ({"position_encoder": "learned"}, {"position_delta": 0.2}, {}):
        with pytest.raises(UserError, match="learned positions already, of --position-encoder fl"):
            convert(trained["floater"][0], tmp_path / "x.pt", positions)
    assert not list(tmp_path.iterdir())


def test_what_no_new_positions_replace_is_kept(tmp_path):
    """A model of ours keeps its scale of logits and its shift, so translations stay the same."""
    shifted = {"position_shift": 5, "attention_log_scale": 3.0}
    plain = {"position_encoder": "sinusoidal", "position_blocks": "input"}
    save_floater(tmp_path / "base.pt", **plain, **shifted)
    convert(tmp_path / "base.pt", tmp_path / "floater.pt", {})
    models = [load_model(tmp_path / name).model for name in ("base.pt", "floater.pt")]
    words = models[0].encoder.embed_tokens.num_embeddings
    batch = {name: tokens.clamp(max=words - 1) for name, tokens in make_batch().items()}
    with torch.no_grad():
        found, wanted = models[1](**batch)[0], models[0](**batch)[0]
    assert (found - wanted).abs().max() < 1e-5
    assert models[1].decoder.options.position_shift == 5
