"""Encodings stored in a checkpoint save the solve, give the same bits, and are never stale."""

from collections import OrderedDict

import pytest
import torch
from commands import GENERATION
from conftest import make_batch, make_model
from launching import succeed

from fairseq_floater.checkpoints.average import average_checkpoints
from fairseq_floater.checkpoints.bake import bake
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.encoders import FloaterEncoder, PositionEncoder, RNNEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.baked import (
    TABLE,
    bake_tables,
    baked_lengths,
    fingerprint,
    take_baked,
)

pytest_plugins = ["commands"]

MLP = {"dynamics": "mlp"}
SEQUENTIAL = {
    "floater": MLP,
    "additive": {"position_injection": "additive", **MLP},
    "five steps": {"ode_steps_per_position": "5", **MLP},
    "shared": {"share_dynamics": "all", **MLP},
    "rnn": {"position_encoder": "rnn", "position_injection": "bias"},
    "angles": {"position_injection": "rotation", **MLP},
    "scores": {"position_injection": "scores", **MLP},
    "linear": {"dynamics": "linear"},
    "driven": {"dynamics": "driven", "position_injection": "additive"},
}


@pytest.fixture(params=SEQUENTIAL.values(), ids=SEQUENTIAL)
def options(request):
    return request.param


@pytest.fixture
def no_solve(monkeypatch):
    """Fail a test in which trajectories are computed."""

    def trajectories(*args, **kwargs):
        raise AssertionError("the equation was solved")

    for encoder in (FloaterEncoder, RNNEncoder):
        monkeypatch.setattr(encoder, "trajectories", trajectories)


def with_tables(model, positions=300):
    return OrderedDict({**model.state_dict(), **bake_tables(model.stacks(), positions)})


def logits(model, **lengths):
    with torch.no_grad():
        return model(**make_batch(**lengths))[0]


def test_no_solve_up_to_the_stored_length(options, request):
    stored = with_tables(
        make_model(seed=2, **options),
    )
    wanted = logits(make_model(seed=2, **options), lengths=(270, 4), target_lengths=(5, 260))
    request.getfixturevalue("no_solve")
    loaded = make_model(seed=3, **options)
    loaded.load_state_dict(stored)
    assert torch.equal(logits(loaded, lengths=(270, 4), target_lengths=(5, 260)), wanted)


def test_longer_input_goes_on_with_the_same_bits(options):
    model, loaded = make_model(seed=2, **options), make_model(seed=3, **options)
    loaded.load_state_dict(with_tables(make_model(seed=2, **options), positions=10))
    lengths = {"lengths": (700, 4), "target_lengths": (5, 600)}
    assert torch.equal(logits(loaded, **lengths), logits(model, **lengths))


def test_training_leaves_stored_encodings_behind():
    model = make_model(seed=2)
    model.load_state_dict(with_tables(model))
    before = logits(model)
    with torch.no_grad():
        model.encoder.position_encoder.dynamics.rates.add_(0.5)
    fresh = make_model(seed=3)
    fresh.load_state_dict(model.state_dict())
    assert not any("baked" in name for name in model.state_dict())
    assert torch.equal(logits(model), logits(fresh)) and not torch.equal(logits(model), before)


def test_a_checkpoint_in_half_precision_uses_its_table(monkeypatch):
    """Its weights are those that the table was solved from, though in fewer bits."""
    model = make_model(seed=2).half()
    weights = model.state_dict()
    tables = bake_tables(make_loaded(weights).stacks(), 20)
    loaded = make_model(seed=3)
    loaded.load_state_dict(OrderedDict({**weights, **tables}))
    monkeypatch.setattr(FloaterEncoder, "trajectories", None)
    with torch.no_grad():
        assert loaded.encoder.position_encoder(20).shape[1] == 20


def make_loaded(weights):
    model = make_model(seed=4)
    model.load_state_dict(OrderedDict(weights))
    return model


def test_half_precision_keeps_the_stored_table():
    model = make_model(seed=2)
    model.load_state_dict(with_tables(model))
    table = model.encoder.position_encoder.kept(300)
    model.half()
    assert model.encoder.position_encoder.kept(300) is table


def test_other_settings_leave_the_table_aside(caplog):
    changes = [
        *(({}, change) for change in ({"position_delta": 0.2}, {"initial_scale": 4.0})),
        *((MLP, change) for change in ({"dynamics_damping": 0.1}, {"ode_solver": "midpoint"})),
    ]
    for options, change in changes:
        caplog.clear()
        stored = with_tables(make_model(seed=2, **options))
        other = make_model(seed=2, **options, **change)
        assert take_baked(other.stacks(), OrderedDict(stored)) == {}
        assert "baked in for the encoder does not match its weights or settings" in caplog.text
    stored = with_tables(make_model(seed=2))
    same = make_model(seed=2).stacks()
    assert set(take_baked(same, OrderedDict(stored))) == {"encoder", "decoder"}


def test_plain_values_that_a_kind_sets_on_itself_are_settings():
    """A kind from elsewhere need not declare them; what the plugin sets on it is not a setting."""

    class Decay(PositionEncoder):
        kind, sequential = "decay", True

        def __init__(self, rate):
            super().__init__(1, 2, "encoder")
            self.rate = rate
            self.start = torch.nn.Parameter(torch.ones(1, 2))

    first, other, same = Decay(0.9), Decay(0.5), Decay(0.9)
    same.train(not first.training).name = "decoder"
    same.update_interval, same.resting, same.trusted = 4, True, True
    prints = [fingerprint(encoder, encoder.state_dict()) for encoder in (first, other, same)]
    assert torch.equal(prints[0], prints[2]) and not torch.equal(prints[0], prints[1])


@pytest.fixture(scope="module")
def baked(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("baked") / "baked.pt"
    assert set(bake(trained["floater"][0], path, 300)) == {"encoder", "decoder"}
    return path


def test_the_command_and_generation(corpus, trained, baked, tmp_path):
    command = ["floater", "bake", trained["floater"][0], "--positions", 300]
    result = succeed(*command, "--out", tmp_path / "b.pt")
    assert "513 positions of the encoder, 513 positions of the decoder baked in" in result.out
    stored = read_checkpoint(str(tmp_path / "b.pt"))
    original = read_checkpoint(str(trained["floater"][0]))
    assert baked_lengths(stored["model"]) == {"encoder": 513, "decoder": 513}
    assert stored["last_optimizer_state"] is not None
    assert stored["cfg"] == original["cfg"]
    flags = ["generate", corpus, *GENERATION, "--path"]
    unbaked, ours = (succeed(*flags, path) for path in (trained["floater"][0], tmp_path / "b.pt"))
    assert ours.hypotheses() == unbaked.hypotheses()


def test_baking_again_replaces(baked, tmp_path):
    bake(baked, tmp_path / "again.pt", 1000)
    assert baked_lengths(read_checkpoint(str(tmp_path / "again.pt"))["model"])["encoder"] == 1025
    model = load_model(tmp_path / "again.pt").model
    assert model.encoder.position_encoder.kept(1).size(1) == 1025
    assert set(bake(tmp_path / "again.pt", tmp_path / "shorter.pt", 10).values()) == {257}


@pytest.mark.parametrize("encoder", ["rnn", "learned", "sinusoidal"])
def test_tables_of_another_encoder_are_no_news(encoder, caplog):
    """The only message is that the weights do not fit."""
    stored = with_tables(make_model(seed=2))
    other = make_model(seed=2, position_encoder=encoder, position_injection=None)
    assert take_baked(other.stacks(), OrderedDict(stored)) == {} and not caplog.text
    with pytest.raises(UserError, match="does not fit this model"):
        other.load_state_dict(stored)


def test_nothing_to_store_is_said(trained, tmp_path):
    state = read_checkpoint(str(trained["floater"][0]))
    model = make_model(position_encoder="sinusoidal")
    state["model"], state["cfg"]["model"] = model.state_dict(), dict(model.options)
    torch.save(state, tmp_path / "sinusoidal.pt")
    with pytest.raises(UserError, match="there is nothing to store"):
        bake(tmp_path / "sinusoidal.pt", tmp_path / "out.pt", 10)
    assert not (tmp_path / "out.pt").exists()


def changed(baked, folder):
    """Return another baked checkpoint, like one of a later epoch."""
    state = read_checkpoint(str(baked))
    for name, weight in state["model"].items():
        if "baked" not in name and weight.is_floating_point():
            state["model"][name] = weight + 0.01
    torch.save(state, folder / "later.pt")
    bake(folder / "later.pt", folder / "later.pt", 300)
    return folder / "later.pt"


def test_our_average_drops_the_tables(baked, tmp_path):
    average_checkpoints([baked, changed(baked, tmp_path)], tmp_path / "average.pt")
    assert baked_lengths(read_checkpoint(str(tmp_path / "average.pt"))["model"]) == {}


def fairseqs_average(inputs, output):
    """Average every entry by its name, as fairseq's scripts/average_checkpoints.py does."""
    states = [read_checkpoint(str(path)) for path in inputs]
    mean = OrderedDict()
    for name in states[0]["model"]:
        total = sum(state["model"][name] for state in states)
        floating = total.is_floating_point()
        mean[name] = total / len(states) if floating else total // len(states)
    torch.save({**states[0], "model": mean}, output)


def test_fairseqs_average_is_seen_through(baked, tmp_path, caplog):
    fairseqs_average([baked, changed(baked, tmp_path)], tmp_path / "average.pt")
    averaged = load_model(tmp_path / "average.pt").model
    assert "computed again" in caplog.text
    fresh = load_model(tmp_path / "average.pt").model
    for stack in ("encoder", "decoder"):
        encoder: PositionEncoder = getattr(averaged, stack).position_encoder
        table = getattr(fresh, stack).position_encoder.trajectories(torch.arange(257.0).double())
        stale = read_checkpoint(str(baked))["model"][f"{stack}.{TABLE}"][:, :257]
        bound = 1e-5 * table.abs().max()
        assert (encoder.kept(200) - table).abs().max() < bound < (stale - table).abs().max()


ALTERED = {
    "zeroed": torch.zeros_like,
    "one number": lambda table: table.index_fill(1, torch.tensor([40]), 0.5),
    "fewer tracks": lambda table: table[:3].clone(),
    "fewer positions": lambda table: table[:, :30].clone(),
    "integers": lambda table: table.long(),
    "half": lambda table: table.half(),
    "flat": lambda table: table.flatten(),
    "empty": lambda table: table[:, :0],
    "a number": lambda table: table[0, 0, 0],
}


#: also detected in tables of 0.1.0, for which there is no fingerprint of the table itself
ALWAYS = ("zeroed", "fewer tracks", "integers", "flat", "empty", "a number")


@pytest.mark.parametrize(
    "altered, old", [(name, False) for name in ALTERED] + [(name, True) for name in ALWAYS]
)
def test_an_altered_table_is_seen_through(altered, old, caplog):
    """The model then computes the encodings from its weights instead."""
    model, other = make_model(seed=2), make_model(seed=3)
    stored = with_tables(model)
    for name in ("encoder", "decoder"):
        key = f"{name}.{TABLE}"
        stored[key] = ALTERED[altered](stored[key])
        if old:
            stored[f"{key}_of"] = stored[f"{key}_of"][:8]
    other.load_state_dict(stored)
    said = "the table baked in for the decoder does not match the one that was baked in"
    assert said in caplog.text
    lengths = {"lengths": (70, 4), "target_lengths": (5, 60)}
    assert torch.equal(logits(other, **lengths), logits(make_model(seed=2), **lengths))
