"""A trained base model goes on with learned positions from where it was."""

import pytest
import torch
from commands import TRAINING, succeed
from conftest import make_batch, make_model, make_stock

pytest_plugins = ["commands"]

BIASED = {
    "floater": {"position_encoder": "floater"},
    "undamped": {"position_encoder": "floater", "dynamics_damping": 0.0},
    "shared": {"position_encoder": "floater", "share_dynamics": "all"},
    "rnn, 1 layer": {"position_encoder": "rnn", "position_injection": "bias"},
    "rnn, 2 layers": {"position_encoder": "rnn", "position_injection": "bias", "rnn_layers": 2},
    "learned": {"position_encoder": "learned", "position_injection": "bias"},
}


def load_base(options):
    """A stock model and ours with its weights, ours as it was built otherwise."""
    stock, ours = make_stock(seed=3), make_model(seed=5, lively=False, **options)
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


@pytest.mark.parametrize("options", BIASED.values(), ids=BIASED)
def test_starts_from_the_base_models_logits(options):
    """Paper, section 3.3: with b = 0 and h = 0 the model is the base model."""
    stock, ours = load_base(options)
    batch = make_batch()
    with torch.no_grad():
        assert (stock(**batch)[0] - ours(**batch)[0]).abs().max() < 2e-6


@pytest.mark.parametrize("options", BIASED.values(), ids=BIASED)
def test_every_position_parameter_learns_from_there(options):
    _, ours = load_base(options)
    batch = make_batch()
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        ours(**batch)[0].log_softmax(-1)[..., 5].mean().neg().backward()
        optimizer.step()
    names = [name for name in before if "positions" in name]
    stuck = [n for n in names if torch.equal(before[n], ours.get_parameter(n))]
    assert names and not stuck


def test_a_checkpoint_of_its_own_keeps_its_trajectories():
    ours = make_model(seed=5)
    again = make_model(seed=6)
    again.load_state_dict(ours.state_dict())
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_finetune_from_a_stock_checkpoint(corpus, trained, tmp_path):
    base, log = trained["stock"]
    flags = [*TRAINING, "--arch", "floater_transformer", "--finetune-from-model", base]
    result = succeed("train", corpus, *flags, "--max-update", 2, "--save-dir", tmp_path)
    first, last = result.losses()[0], log.losses()[-1]
    assert first < log.losses()[0] - 0.5 and first < last + 0.5
