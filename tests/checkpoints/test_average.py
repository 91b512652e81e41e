"""Only checkpoints of one model are averaged, and the mean is that of their weights."""

import pytest
import torch
from saved import save_floater, save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.average import last_checkpoints
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.errors import UserError


def average(capsys, *checkpoints):
    folder = checkpoints[0].parent
    code = cli.main(["average", *map(str, checkpoints), "--out", str(folder / "out.pt")])
    return code, capsys.readouterr().err, folder / "out.pt"


def saved(folder, *names):
    for name in names:
        (folder / f"checkpoint{name}.pt").touch()


def last(folder, count):
    return [path.stem.removeprefix("checkpoint") for path in last_checkpoints(folder, count)]


def test_the_last_of_a_folder(tmp_path):
    """Checkpoints by update are taken, or those by epoch if there are too few by update."""
    saved(tmp_path, 8, 9, 10, "_1_500", "_best", "_last", "_mine")
    assert last(tmp_path, 3) == ["8", "9", "10"]
    assert last(tmp_path, 1) == ["_1_500"]
    saved(tmp_path, "_2_900", "_3_1000")
    assert last(tmp_path, 3) == ["_1_500", "_2_900", "_3_1000"]
    message = f"{tmp_path} has 3 checkpoints by update and 3 by epoch to average, but 4 are wanted"
    with pytest.raises(UserError, match=f"^{message}: train longer, keep more .--keep-last-epochs"):
        last(tmp_path, 4)
    saved(tmp_path, "_2_500")
    first, second = f"{tmp_path}/checkpoint_1_500.pt", "checkpoint_2_500.pt"
    message = f"{first} and {second} are of the same update, so one"
    with pytest.raises(UserError, match=message):
        last(tmp_path, 3)


def test_a_folder_that_is_none(tmp_path):
    for path in (tmp_path / "nowhere", save_stock(tmp_path / "one.pt")):
        with pytest.raises(UserError, match=f"no folder {path}: give a --save-dir with --last, or"):
            last_checkpoints(path, 2)


def test_moving_averages_of_one_of_them_are_left_out(tmp_path, capsys):
    def with_averages(state):
        state["extra_state"] |= {"ema": dict(state["model"]), "ema_fp32_params": {}}

    one, two = (
        save_floater(tmp_path / f"{seed}.pt", seed=seed, change=with_averages) for seed in (1, 2)
    )
    code, _, out = average(capsys, one, two)
    averages = {"ema", "ema_fp32_params"}
    assert code == 0 and not read_checkpoint(str(out))["extra_state"].keys() & averages
    assert cli.main(["convert", str(save_stock(one, change=with_averages)), str(two)]) == 0
    assert not read_checkpoint(str(two))["extra_state"].keys() & averages


MLP = {"dynamics": "mlp"}
DIFFERENT = {
    "initial scale": ({"initial_scale": 2.0}, "--initial-scale is 2.0 there, 16.0 here"),
    "delta": ({"position_delta": 0.2}, "--position-delta is 0.2 there, 0.1 here"),
    "heads": ({"encoder_attention_heads": 4}, "--encoder-attention-heads is 4 there, 2 here"),
    "activation": ({"activation_fn": "gelu"}, "--activation-fn is gelu there, relu here"),
    "norms": ({"decoder_normalize_before": True}, "has no place here"),
    "steps": (
        {**MLP, "ode_steps_per_position": "2"},
        "--ode-steps-per-position is 2 there, 1 here",
    ),
    "times": ({"position_times": "sentences", "sentence_separator": "w1"}, "--position-times"),
    "damping": ({**MLP, "dynamics_damping": 0.5}, "--dynamics-damping is 0.5 there, 0.0 here"),
    "scale": ({"no_scale_embedding": True}, "--no-scale-embedding is True there, False here"),
    "width": ({"encoder_ffn_embed_dim": 16}, "encoder.layers.0.fc1.weight is 16 x 16 there"),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_other_models_are_named(difference, tmp_path, capsys):
    options, message = DIFFERENT[difference]
    same = MLP if {"ode_steps_per_position", "dynamics_damping"} & {*options} else {}
    first = save_floater(tmp_path / "first.pt", **same)
    other = save_floater(tmp_path / "other.pt", **options)
    code, error, out = average(capsys, first, first, other)
    assert code == 1 and not out.exists() and error.count("\n") == 1
    assert "other.pt is of another model than" in error and "first.pt" in error
    assert any(part in error for part in message.split("|")), error


def test_training_may_differ(tmp_path, capsys):
    first = save_floater(tmp_path / "first.pt")
    options = {"dropout": 0.3, "dynamics_lr_scale": 0.5, "max_source_positions": 99}
    second = save_floater(tmp_path / "second.pt", seed=1, position_injection="bias", **options)
    code, error, out = average(capsys, first, second)
    assert (code, error) == (0, "")
    a, b, mean = (read_checkpoint(str(path))["model"] for path in (first, second, out))
    assert mean.keys() == a.keys()
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (a[name] + b[name]) / 2, atol=1e-6, rtol=1e-6)


def test_base_models_are_compared_too(tmp_path, capsys):
    first = save_stock(tmp_path / "first.pt")
    other = save_stock(tmp_path / "b.pt", decoder_attention_heads=4)
    code, error, _ = average(capsys, first, other)
    assert code == 1 and "--decoder-attention-heads is 4 there, 2 here" in error
    assert average(capsys, first, save_stock(tmp_path / "c.pt", seed=1))[0] == 0
