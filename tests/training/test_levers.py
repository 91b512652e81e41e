"""Training the position encoder less often, at another rate, alone, or not at all."""

import pytest
import torch
from commands import TRAINING
from conftest import make_batch, make_model
from fairseq.optim.adam import FairseqAdam
from fairseq.optim.fp16_optimizer import FP16Optimizer
from launching import succeed
from omegaconf import OmegaConf

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.encoders import FloaterEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.config import FloaterTransformerConfig
from fairseq_floater.models.floater_transformer import FloaterTransformerModel
from fairseq_floater.training.levers import train_only

pytest_plugins = ["commands"]


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def adam(model):
    """Return fairseq's Adam over what is to be trained, as its trainer builds it."""
    options = {"lr": [0.01], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-8, "weight_decay": 0.1}
    cfg = OmegaConf.create(
        {**options, "use_old_adam": True, "tpu": False, "fp16_adam_stats": False}
    )
    return FairseqAdam(cfg, [p for p in model.parameters() if p.requires_grad])


def train(model, updates, optimizer=None):
    """Train as fairseq's trainer does; return the parameters at first and after every update."""
    optimizer = optimizer or adam(model)
    history = [parameters(model)]
    for number in range(updates):
        model.set_num_updates(number)
        optimizer.zero_grad()
        loss = -model(**make_batch())[0].log_softmax(-1)[..., 5].mean()
        optimizer.backward(loss)
        optimizer.step()
        history.append(parameters(model))
    return history


def is_position(name):
    return ".position_encoder." in name


@pytest.mark.parametrize("encoder", ["floater", "rnn"])
def test_dynamics_and_initial_values_take_their_shares_of_a_step(encoder):
    """The shares are less than a whole step, and more than one."""
    scales = {"dynamics_lr_scale": 0.25, "initial_lr_scale": 4.0}
    plain = make_model(seed=2, position_encoder=encoder)
    scaled = make_model(seed=2, position_encoder=encoder, **scales)
    (before, whole), (_, share) = train(plain, 1), train(scaled, 1)
    for name in before:
        wanted = 4.0 if name.endswith(".initial") else 0.25 if ".dynamics." in name else 1.0
        moved = wanted * (whole[name] - before[name])
        rounding = 2e-7 * max(1.0, before[name].abs().max())
        assert torch.allclose(share[name] - before[name], moved, atol=rounding), name
        assert moved.abs().max() > 0


def test_what_tracks_of_fourier_features_share_takes_a_share_of_a_step():
    options = {"seed": 2, "position_encoder": "fourier", "position_injection": "additive"}
    plain, scaled = make_model(**options), make_model(**options, dynamics_lr_scale=0.25)
    (before, whole), (_, share) = train(plain, 1), train(scaled, 1)
    shared = {name for name in before if ".frequencies" in name or "encoder.hidden." in name}
    assert len(shared) == 2 * 3
    for name in before:
        moved = (0.25 if name in shared else 1.0) * (whole[name] - before[name])
        assert torch.allclose(share[name] - before[name], moved, atol=2e-7), name
        assert moved.abs().max() > 0


def test_updates_at_every_third_step_only(monkeypatch):
    solves = []
    solve = FloaterEncoder.trajectories

    def counted(self, positions, start=None):
        solves.append(torch.is_grad_enabled())
        return solve(self, positions, start)

    monkeypatch.setattr(FloaterEncoder, "trajectories", counted)
    history = train(make_model(seed=2, dynamics_update_interval=3), 7)
    for number, (before, after) in enumerate(zip(history, history[1:])):
        for name in before:
            rests = is_position(name) and number % 3 != 0
            assert torch.equal(before[name], after[name]) == rests, (number, name)
    # With gradients at updates 0, 3 and 6; without them once after each of these, for the table.
    assert solves.count(True) == 2 * 3 and solves.count(False) == 2 * 2


def test_resting_parameters_keep_their_moments():
    """Also if their gradients are 0, as in half precision and some kinds of data parallelism."""
    model = make_model(seed=2, dynamics_update_interval=3)
    optimizer = adam(model)
    for number in range(4):
        model.set_num_updates(number)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float(number % 3 == 0))
        optimizer.step()
    for name, parameter in model.named_parameters():
        state = optimizer.optimizer.state[parameter]
        assert state["step"] == (2 if is_position(name) else 4), name


@pytest.mark.parametrize(
    "options",
    [
        {"position_encoder": "learned"},
        {"position_encoder": "rnn"},
        {"position_times": "sentences", "sentence_separator": "w5"},
    ],
)
def test_at_rest_positions_have_no_gradient(options):
    model = make_model(seed=2, dynamics_update_interval=2, **options)
    for number in (0, 1):
        model.set_num_updates(number)
        model.zero_grad()
        model(**make_batch())[0].square().sum().backward()
        found = [p.grad is not None for n, p in model.named_parameters() if is_position(n)]
        assert any(found) == all(found) == (number == 0)


def test_gradients_at_an_update_are_those_of_plain_training():
    plain, lazy = make_model(seed=2), make_model(seed=2, dynamics_update_interval=3)
    assert all(torch.equal(a, b) for a, b in zip(*(train(m, 1)[1].values() for m in (plain, lazy))))


@pytest.mark.parametrize("frozen", ["dynamics", "base"])
def test_freezing(frozen):
    model = make_model(seed=2, **{f"freeze_{frozen}": True})
    before, after = train(model, 1)
    for name in before:
        stays = is_position(name) == (frozen == "dynamics")
        assert torch.equal(before[name], after[name]) == stays, name


@pytest.mark.parametrize("frozen", ["dynamics", "base"])
def test_a_learned_base_encoding_is_part_of_the_base(frozen):
    model = make_model(encoder_learned_pos=True, **{f"freeze_{frozen}": True})
    table = model.encoder.embed_positions.encoder.table
    assert table.requires_grad == (frozen == "dynamics")


def test_frozen_dynamics_are_not_solved_again(monkeypatch):
    model = make_model(seed=2, freeze_dynamics=True)
    train(model, 1)
    monkeypatch.setattr(FloaterEncoder, "trajectories", None)
    train(model, 2)


def test_float32_copies_of_half_precision_take_their_share(monkeypatch):
    """fairseq's half-precision optimizer steps on copies of the parameters."""
    model = make_model(seed=2, dynamics_lr_scale=0.25)
    wanted = [p for p in model.parameters() if p.requires_grad]
    copies = FP16Optimizer.build_fp32_params(None, wanted, flatten=False)
    before = [copy.detach().clone() for copy in copies]
    for copy in copies:
        copy.grad = torch.ones_like(copy)
    torch.optim.SGD(copies, lr=1.0).step()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    for name, was, now in zip(names, before, copies):
        moved = 0.25 if ".dynamics." in name else 1.0
        assert torch.allclose(was - now, torch.full_like(was, moved), atol=1e-5), name


def test_one_flat_row_of_parameters_is_refused():
    """It is refused before any work, and only if parameters must be told apart."""
    model = make_model(dynamics_lr_scale=0.25)
    with pytest.raises(UserError, match="add --fp16-no-flatten-grads"):
        FP16Optimizer.build_fp32_params(None, list(model.parameters()), flatten=True)
    flat = torch.nn.Parameter(torch.zeros(10))
    flat.grad = torch.ones(10)
    torch.optim.SGD([flat], lr=1.0).step()
    assert torch.equal(flat.detach(), -torch.ones(10))


def test_only_parameters_of_a_name_learn():
    """Positions as well, if their names match; a base model without any can be trained in part."""
    model = make_model(train_only=r"decoder.*(fc1|position_encoder)")
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning and {name.split(".")[0] for name in learning} == {"decoder"}
    assert {"fc1" in name or "position_encoder" in name for name in learning} == {True}
    assert any("fc1" in name for name in learning)
    assert any("position_encoder" in name for name in learning)
    stock = make_model(position_encoder="sinusoidal", position_blocks="input", train_only="fc2")
    assert {"fc2" in n for n, p in stock.named_parameters() if p.requires_grad} == {True}


@pytest.mark.parametrize("part", ["", ".dynamics"])
def test_what_stacks_share_has_the_names_of_both(part):
    model = make_model(share_dynamics="all", train_only=f"decoder.position_encoder{part}")
    ours = model.decoder.position_encoder
    assert all(p.requires_grad for p in ours.dynamics.parameters())
    assert ours.initial.requires_grad != bool(part)
    assert not model.encoder.position_encoder.initial.requires_grad


@pytest.mark.parametrize("pattern", ["position_encoder|sentence_head", "sentence_head"])
def test_a_head_that_is_to_come_counts(pattern, monkeypatch):
    """With the head there will be something to learn, also between the updates of positions."""
    monkeypatch.setattr(FloaterTransformerModel, "gets_heads", True, raising=False)
    model = make_model(train_only=pattern, position_encoder_update_interval=2)
    before = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all("position_encoder" in name for name in before)
    with pytest.raises(UserError, match="--train-only .* (matches no|leaves nothing to learn)"):
        train_only(model, pattern, whole=True)
    model.sentence_head = torch.nn.Linear(2, 2)
    train_only(model, pattern, whole=True)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == [*before, "sentence_head.weight", "sentence_head.bias"]


MISTAKES = {
    "no such name": ({"train_only": "lm_head"}, "--train-only lm_head matches no parameter"),
    "no pattern": ({"train_only": "fc("}, r"--train-only fc\( is not a valid regular expression"),
    "only and none": (
        {"train_only": "fc1", "freeze_base": True},
        "--train-only and --freeze-base both say what is trained: give only one of them",
    ),
    "both": ({"freeze_base": True, "freeze_dynamics": True}, "leave nothing to learn"),
    "between": (
        {"freeze_base": True, "dynamics_update_interval": 2},
        "leaves nothing to learn between the updates of --position-encoder-update-interval 2",
    ),
    "positions between": (
        {"train_only": "position_encoder", "position_encoder_update_interval": 2},
        "--train-only position_encoder leaves nothing to learn between the updates of",
    ),
    "scale": ({"dynamics_lr_scale": 0.0}, "--dynamics-lr-scale must be > 0, got 0.0"),
    "initial scale": ({"initial_lr_scale": -1.0}, "--initial-lr-scale must be > 0, got -1.0"),
    "no initial values": (
        {"position_encoder": "fourier", "initial_lr_scale": 4.0},
        "--initial-lr-scale needs dynamics, but --position-encoder is fourier",
    ),
    "two names": (
        {"dynamics_update_interval": 4, "position_encoder_update_interval": 2},
        "--dynamics-update-interval 4 is the old name of --position-encoder-update-interval, which",
    ),
    "interval": (
        {"dynamics_update_interval": 0},
        "--position-encoder-update-interval must be >= 1",
    ),
    "learned": (
        {"position_encoder": "learned", "dynamics_lr_scale": 0.1},
        "--dynamics-lr-scale needs parameters that all trajectories share, but "
        "--position-encoder is learned",
    ),
    "sinusoidal": (
        {"position_encoder": "sinusoidal", "freeze_base": True},
        "--freeze-base needs a learned position encoder, but --position-encoder is sinusoidal",
    ),
}


@pytest.mark.parametrize("options, message", MISTAKES.values(), ids=MISTAKES)
def test_what_has_no_meaning_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_model(**options)


def test_on_the_command_line(corpus, trained, tmp_path):
    base = trained["stock"][0]
    flags = ["--arch", "floater_transformer", "--finetune-from-model", base, "--freeze-base"]
    flags += ["--dynamics-lr-scale", 2]
    succeed("train", corpus, *TRAINING, *flags, "--max-update", 2, "--save-dir", tmp_path)
    there, here = (
        read_checkpoint(str(path))["model"] for path in (base, tmp_path / "checkpoint_last.pt")
    )
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert here["encoder.position_encoder.initial"].abs().max() > 0


def test_old_names_are_taken_over_wherever_options_are_read():
    """Also where nothing validates them, as in the records of results."""
    config = FloaterTransformerConfig.of({"freeze_dynamics": True, "dynamics_update_interval": 4})
    assert config.freeze_position_encoder and config.position_encoder_update_interval == 4
    assert not config.freeze_dynamics and config.dynamics_update_interval == 1
    in_force = config.in_force()
    assert in_force["freeze_position_encoder"] and "freeze_dynamics" not in in_force
