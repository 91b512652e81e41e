"""Options that a command or a checkpoint leaves unsaid mean what they did under old defaults."""

import logging

import pytest
import torch
from conftest import make_batch, make_model
from fairseq import checkpoint_utils, options
from saved import save_floater, save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.encoders import FORMERLY
from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.options import PositionOptions

NEW = {"dynamics": "linear", "initial_scale": 16.0}
MLP = {"dynamics": "mlp", "initial_scale": 1.0}


def typed(*flags):
    """Return the options whose defaults have changed, as fairseq-train's parser reads ``flags``."""
    command = ["data", "--arch", "floater_transformer_tiny", *map(str, flags)]
    args = options.parse_args_and_arch(options.get_training_parser(), command)
    config = FloaterTransformerConfig.of(args)
    return {name: getattr(config, name) for name in FORMERLY}


def without_new_options(state):
    for name in FORMERLY:
        delattr(state["args"], name)


def test_each_kind_has_changed_defaults_of_its_own(monkeypatch):
    """That another kind's default has changed leaves those of FLOATER's equation as they are."""
    monkeypatch.setitem(FORMERLY, "rnn_layers", 1)
    assert typed("--ode-steps-per-position", 2)["dynamics"] == "mlp"
    assert typed("--position-encoder", "rnn", "--ode-steps-per-position", 2)["rnn_layers"] == 1


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.INFO)


def test_commands(caplog):
    assert typed() == NEW and not caplog.text
    adjoint = ["--ode-adjoint", "--ode-backend", "torchdiffeq"]
    usual = ["--ode-solver", "rk4", "--dynamics-activation", "tanh"]
    for flags in (["--ode-steps-per-position", 2], ["--dynamics-init", "random"], adjoint, usual):
        assert typed(*flags) == {**NEW, "dynamics": "mlp"}
    assert "--dynamics mlp, which reads --ode-steps-per-position" in caplog.text
    assert typed("--dynamics-longest-period", 100) == NEW  # every kind reads it
    assert typed("--position-encoder", "rnn", "--ode-steps-per-position", 2) == NEW
    assert typed("--dynamics", "linear", *usual) == NEW
    with pytest.raises(UserError, match="--ode-solver euler is read by --dynamics mlp, but"):
        typed("--dynamics", "linear", "--ode-solver", "euler")
    hidden = ["--dynamics-hidden-dim", 8]
    assert typed(*hidden)["dynamics"] == "mlp"  # as before there were other kinds
    assert typed("--dynamics", "driven", *hidden)["dynamics"] == "driven"
    with pytest.raises(UserError, match="-dim 8 is read by --dynamics mlp or driven, but"):
        typed("--dynamics", "linear", *hidden)
    assert typed("--dynamics", "mlp", "--initial-scale", 1) == MLP
    with pytest.raises(UserError, match="-scale 4.0 is read by --dynamics linear or driven, but"):
        typed("--dynamics", "mlp", "--initial-scale", 4)


def test_a_training_goes_on_with_its_own(tmp_path, caplog):
    last = save_floater(tmp_path / "checkpoint_last.pt", **MLP)
    assert typed("--save-dir", tmp_path) == MLP
    assert f"--dynamics mlp --initial-scale 1.0, as in {last}" in caplog.text
    assert typed("--save-dir", tmp_path, "--dynamics", "linear") == {**NEW, "initial_scale": 1.0}
    save_floater(last, dynamics="driven", initial_scale=4.0)
    assert typed("--save-dir", tmp_path) == {"dynamics": "driven", "initial_scale": 4.0}
    old = save_floater(tmp_path / "old.pt", change=without_new_options, **MLP)
    assert typed("--restore-file", old) == MLP
    elsewhere = ["--save-dir", tmp_path / "new", "--finetune-from-model"]
    assert typed(*elsewhere, old) == MLP
    state = torch.load(old, weights_only=False)
    torch.save(state, old, _use_new_zipfile_serialization=False)
    assert typed(*elsewhere, old) == MLP
    assert typed(*elsewhere, save_stock(tmp_path / "stock.pt")) == NEW
    assert typed(*elsewhere, save_floater(tmp_path / "rnn.pt", position_encoder="rnn")) == NEW
    last.write_bytes(b"PK")
    (tmp_path / "checkpoint_best.pt").write_bytes(b"PK")
    assert typed("--save-dir", tmp_path) == NEW  # that it is broken is reported at loading
    other = save_floater(tmp_path / "checkpoint_1_2.pt", **MLP)  # a training then resumes from this
    assert typed("--save-dir", tmp_path) == MLP
    last.unlink()
    assert typed("--save-dir", tmp_path) == MLP and caplog.text.endswith(f"as in {other}\n")


def test_a_training_that_continues_once_goes_on_with_its_own(tmp_path):
    """Also before it has saved anything itself, as with ``--restore-file``."""
    save_floater(tmp_path / "there.pt", **MLP)
    flags = ["--continue-once", tmp_path / "there.pt", "--save-dir", tmp_path / "new"]
    assert typed(*flags) == {**NEW, **MLP}


def test_a_training_starts_from_a_model_in_its_own_folder(tmp_path):
    """Until it has saved something itself."""
    base = save_floater(tmp_path / "checkpoint_best.pt", **MLP)
    save_floater(tmp_path / "checkpoint_1_2.pt", dynamics="driven", initial_scale=4.0)
    command = ["--save-dir", tmp_path, "--finetune-from-model", base]
    assert typed(*command) == MLP

    def of_this_training(state):
        state["args"].finetune_from_model = str(base)

    own = {"dynamics": "driven", "initial_scale": 8.0}
    save_floater(tmp_path / "checkpoint_2_4.pt", change=of_this_training, **own)
    assert typed(*command) == own
    save_floater(tmp_path / "checkpoint_last.pt", dynamics="driven", initial_scale=4.0)
    assert typed(*command) == {"dynamics": "driven", "initial_scale": 4.0}


def test_what_lies_about_is_no_model_to_go_on_from(tmp_path, monkeypatch):
    save_floater(tmp_path / "checkpoint_best.pt", **MLP)
    base = save_stock(tmp_path / "base.pt")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", str(base), "out.pt"]) == 0
    assert load_model(tmp_path / "out.pt").config.dynamics == "linear"


@pytest.mark.parametrize("formerly", [MLP, {"dynamics": "linear", "initial_scale": 1.0}], ids=str)
def test_checkpoints_without_the_options_compute_what_they_did(formerly, tmp_path):
    """Checkpoints from before there was a choice of dynamics, and from before there was a scale."""

    def older(state):
        delattr(state["args"], "initial_scale")
        if formerly == MLP:
            delattr(state["args"], "dynamics")

    batch, model = make_batch(), make_model(seed=4, **formerly)
    path = save_floater(tmp_path / "old.pt", seed=4, change=older, **formerly)
    with torch.no_grad():
        assert torch.equal(load_model(path).model(**batch)[0], model(**batch)[0])
    found = vars(read_checkpoint(str(path))["args"])
    assert {name: found[name] for name in FORMERLY} == formerly
    found = checkpoint_utils.load_checkpoint_to_cpu(str(path))["cfg"]["model"]
    assert {name: found[name] for name in FORMERLY} == formerly


def test_what_a_checkpoint_does_not_read_is_let_be(tmp_path):
    def coarse(state):
        state["args"].ode_steps_per_position = "1/2"

    path = save_floater(tmp_path / "a.pt", change=coarse, dynamics="linear")
    assert load_model(path).config.ode_steps_per_position == "1/2"


@pytest.mark.parametrize("kind", ["linear", "driven"])
def test_adam_moves_a_scaled_start_so_much_further(kind):
    """With either scale, what is learned is the start of the same trajectories."""
    moved = {}
    for scale in (1.0, 16.0):
        options = PositionOptions(dynamics=kind, initial_scale=scale).validate()
        encoder = build_position_encoder(options, 2, 6, seed=1)
        with torch.no_grad():
            encoder.initial.copy_(torch.linspace(-1, 1, 12).view(2, 6) / scale)
        before = encoder(5)
        moved[scale, "before"] = before.detach()
        adam = torch.optim.Adam([encoder.initial], lr=0.001)
        before.square().sum().backward()
        adam.step()
        moved[scale] = (encoder(1) - before[:, :1]).detach()
    torch.testing.assert_close(moved[16.0, "before"], moved[1.0, "before"])
    torch.testing.assert_close(moved[16.0], 16 * moved[1.0], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("injection", ["additive", "rotation", "scores"])
def test_only_biases_are_scaled(injection):
    model = make_model(position_injection=injection)
    assert model.encoder.position_encoder.initial_scale == 1.0
    assert make_model().encoder.position_encoder.initial_scale == 16.0
    assert make_model(dynamics="mlp").encoder.position_encoder.initial_scale == 1.0
