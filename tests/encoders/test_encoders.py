"""Position encoders on their own: shapes, sizes, growth, staleness, refusals."""

import math

import pytest
import torch
from fairseq.modules import SinusoidalPositionalEmbedding

from fairseq_floater.encoders import (
    FloaterEncoder,
    FourierEncoder,
    LearnedEncoder,
    PositionEncoder,
    RecurrentCell,
    RNNEncoder,
    SinusoidalEncoder,
)
from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.encoders.cache import TableCache
from fairseq_floater.encoders.rotary import RotaryEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.ode.dynamics import MLPDynamics
from fairseq_floater.options import PositionOptions

DIM, TRACKS = 8, 3


def test_what_rests_in_training_is_looked_at_once(monkeypatch):
    """It is looked at again only once it has learned, is loaded or moved, or validation begins."""
    looked = []
    look = TableCache.drop_unless_of
    monkeypatch.setattr(TableCache, "drop_unless_of", lambda *args: looked.append(1) or look(*args))
    encoder = floater()
    encoder.update_interval = 3

    def update(number):
        """Return how often two batches of an update looked at it, and its table."""
        del looked[:]
        encoder.set_num_updates(number)
        tables = [encoder(9), encoder(12)[:, :9]]
        assert torch.equal(*tables)
        if tables[0].requires_grad:
            with torch.no_grad():
                encoder.initial.add_(0.5)
        return len(looked), tables[0].detach()

    counts, tables = zip(*map(update, range(7)))
    assert counts == (0, 1, 0, 0, 1, 0, 0)
    torch.testing.assert_close(tables[1], tables[3])
    assert torch.equal(tables[1], tables[2])
    assert torch.equal(tables[4], tables[5]) and not torch.equal(tables[2], tables[4])
    encoder.set_num_updates(7)
    encoder(9)
    encoder.load_state_dict({name: 2 * value for name, value in encoder.state_dict().items()})
    encoder.set_num_updates(7)  # as a trainer does after it has loaded
    assert not torch.equal(encoder(9), tables[6])
    encoder.requires_grad_(False)
    assert [update(number)[0] for number in (8, 9, 10)] == [0, 0, 0]
    encoder.eval()
    assert update(11)[0] == 2


class Products(PositionEncoder):
    """An encoder by someone who does not think of precision: positions times a learned matrix."""

    kind = "products"

    def __init__(self):
        super().__init__(TRACKS, DIM)
        self.matrix = torch.nn.Parameter(torch.randn(TRACKS, 1, DIM))

    def trajectories(self, positions, start=None):
        return positions.unsqueeze(1).to(self.dtype) @ self.matrix


def test_autocast_leaves_trajectories_in_full_precision(monkeypatch):
    """With and without gradients; a kept table stays the same."""
    encoder = Products()
    wanted = encoder(9).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(9).dtype == torch.float32 and encoder(9).requires_grad
        assert torch.equal(encoder(9), wanted)
        with torch.no_grad():
            table = encoder.eval().kept(9)
            assert torch.equal(table[:, :9], wanted) and encoder.kept(9) is table
    with torch.no_grad():
        assert encoder.kept(9) is table


@pytest.mark.parametrize("kind", ["relative-bias", "alibi", "fire", "shaw", "learned"])
def test_what_rests_has_no_gradients(kind):
    options = PositionOptions(position_encoder=kind, alibi_form="learned").validate()
    encoder = build_position_encoder(options, 4, DIM, heads=2, max_positions=20)
    read = encoder.pairs if kind == "fire" else lambda rows, _: encoder(len(rows))
    positions = torch.arange(9)
    assert read(positions, positions).requires_grad
    encoder.update_interval = 2
    encoder.set_num_updates(1)
    assert not read(positions, positions).requires_grad
    encoder.set_num_updates(2)
    assert read(positions, positions).requires_grad


def floater(**options):
    torch.manual_seed(0)
    encoder = FloaterEncoder(TRACKS, DIM, MLPDynamics(DIM), initial_std=0.5, **options)
    encoder.growth = 16
    return encoder


def rnn(**options):
    torch.manual_seed(0)
    encoder = RNNEncoder(TRACKS, DIM, RecurrentCell(DIM, **options), initial_std=0.5)
    encoder.growth = 16
    return encoder


def sinusoidal(**options):
    encoder = SinusoidalEncoder(TRACKS, DIM, blocks=range(TRACKS), **options)
    encoder.growth = 16
    return encoder


def learned():
    torch.manual_seed(0)
    return LearnedEncoder(TRACKS, DIM, 64, initial_std=0.5)


ALL = [floater, rnn, sinusoidal, learned]
GROWING = [floater, rnn, sinusoidal]


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_the_paper():
    """Table 6 and section 3.1, at d = 512."""
    assert count(MLPDynamics(512)) == 526_336
    assert count(RecurrentCell(512, 1, "scalar")) == 263_168
    assert count(RecurrentCell(512, 2, "scalar")) == 526_336
    assert count(RecurrentCell(512, 1, "vector")) == 524_800
    assert count(RecurrentCell(512, 2, "vector")) == 2 * 524_800


@pytest.mark.parametrize("build", ALL)
def test_shape_and_prefix(build):
    """(tracks, positions, dim), and a longer request begins with a shorter one."""
    encoder = build()
    whole = encoder(50)
    assert whole.shape == (TRACKS, 50, DIM) and whole.dtype == torch.float32
    for n in (1, 2, 17, 49):
        torch.testing.assert_close(encoder(n), whole[:, :n], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("build", ALL)
def test_kept_table_equals_a_fresh_one_and_does_not_depend_on_history(build):
    encoder, other = build(), build()
    with torch.no_grad():
        for n in (3, 20, 60):
            grown = encoder(n)
        direct = other(60)
    assert torch.equal(grown, direct)
    torch.testing.assert_close(grown, build()(60), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", GROWING)
def test_table_grows_from_its_last_state_and_is_then_at_rest(build, monkeypatch):
    encoder = build()
    asked = []
    compute = type(encoder).trajectories

    def recorded(self, positions, start=None):
        asked.append((int(positions[0]), int(positions[-1]), start is not None))
        return compute(self, positions, start)

    monkeypatch.setattr(type(encoder), "trajectories", recorded)
    with torch.no_grad():
        encoder(5), encoder(17), encoder(18), encoder(3)
    assert asked == [(0, 16, False), (16, 32, True)]


@pytest.mark.parametrize("write", ["in_place", "data", "load"])
@pytest.mark.parametrize("build", [floater, rnn])
def test_never_a_stale_table(build, write):
    """However a parameter is written, evaluation sees it; fairseq's Adam writes to ``.data``."""
    encoder, other = build(), build()
    with torch.no_grad():
        before = encoder(10)
        for target in (encoder, other):
            for p in target.parameters():
                if write == "in_place":
                    p.mul_(1.5)
                elif write == "data":
                    p.data.mul_(1.5)
        if write == "load":
            state = {k: 1.5 * v for k, v in encoder.state_dict().items()}
            encoder.load_state_dict(state), other.load_state_dict(state)
        after = encoder(10)
        assert not torch.equal(before, after)
        assert torch.equal(after, other(10))


@pytest.mark.parametrize("build", [floater, rnn, learned])
def test_every_call_has_a_gradient_for_every_parameter(build):
    encoder = build()
    with torch.no_grad():
        encoder(30)  # a kept table must not be used where a gradient is needed
    for _ in range(2):
        encoder.zero_grad()
        encoder(12).pow(2).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


@pytest.mark.parametrize("backend", ["native", "torchdiffeq", "rnn"])
def test_one_position_has_a_gradient_for_every_parameter(backend):
    """In data-parallel training, torch waits for the gradients of all of them."""
    encoder = rnn() if backend == "rnn" else floater(backend=backend)
    first = encoder(1)
    assert first.shape == (TRACKS, 1, DIM) and torch.equal(first, encoder(5)[:, :1])
    first.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_frozen_parameters_use_the_kept_table():
    encoder = floater().requires_grad_(False)
    assert encoder(10, shared=True).data_ptr() == encoder(12, shared=True).data_ptr()
    assert encoder(10).data_ptr() != encoder(12, shared=True).data_ptr()


def test_inference_mode_does_not_leak():
    encoder = floater().requires_grad_(False)
    with torch.inference_mode():
        encoder(10)
    weight = torch.ones(DIM, requires_grad=True)
    (encoder(10) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("build", [floater, sinusoidal, rnn, learned])
def test_explicit_positions(build):
    encoder = build()
    regular = encoder(6)
    explicit = encoder(torch.arange(6.0))
    torch.testing.assert_close(explicit, regular, atol=1e-6, rtol=1e-6)
    with pytest.raises(UserError, match="increasing"):
        encoder(torch.tensor([0.0, 2.0, 1.0]))
    for bad in (-1.0, float("nan")):
        with pytest.raises(UserError, match="increasing row of finite numbers >= 0"):
            encoder(torch.tensor([bad, 2.0]))
    with pytest.raises(UserError, match="increasing row of finite numbers"):
        encoder(torch.tensor([0.0, math.inf]))
    with pytest.raises(UserError, match=">= 1, got 0"):
        encoder(0)


@pytest.mark.parametrize("build", [floater, sinusoidal, rnn, learned])
def test_explicit_positions_may_have_gaps(build):
    encoder = build()
    picked = encoder(torch.tensor([5.0, 20.0, 60.0]))
    assert torch.equal(picked, encoder(64)[:, [5, 20, 60]])


@pytest.mark.parametrize("build", [rnn, learned])
def test_some_encoders_have_whole_positions_only(build):
    with pytest.raises(UserError, match="whole positions only"):
        build()(torch.tensor([0.0, 0.5]))


def test_sinusoids_equal_fairseq_and_the_block_term_of_the_paper():
    stock = SinusoidalPositionalEmbedding.get_embedding(100, 10)
    plain = SinusoidalEncoder(1, 10, offset=2)
    assert torch.equal(plain(98)[0], stock[2:])
    deep = SinusoidalEncoder(3, 10, offset=2, blocks=range(3))(98)
    for block in range(3):
        assert torch.equal(deep[block], stock[2:] + stock[block + 1])


def test_sinusoids_of_odd_width():
    stock = SinusoidalPositionalEmbedding.get_embedding(20, 9)
    assert torch.equal(SinusoidalEncoder(1, 9)(20)[0], stock)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("input", ["scalar", "vector"])
def test_rnn_follows_its_recurrence(layers, input):
    """p_{i+1} = RNN(z_i, p_i), written out plainly."""
    encoder = rnn(layers=layers, input=input)
    table = encoder(6)
    p = encoder.initial
    for i in range(5):
        z = torch.tensor([float(i)])
        if input == "vector":
            z = SinusoidalPositionalEmbedding.get_embedding(6, DIM)[i]
        for layer in encoder.dynamics.layers:
            p = torch.tanh(layer(torch.cat([p, z.expand(TRACKS, -1)], dim=1)))
        torch.testing.assert_close(table[:, i + 1], p, atol=1e-6, rtol=1e-5)


def test_learned_refuses_longer_input_with_its_limit():
    with pytest.raises(UserError, match="positions up to 65.*holds 64.*--max-source-positions"):
        learned()(65)


def test_divergence_is_named():
    """The message names the stack, the position, and the flags to change."""
    dynamics = MLPDynamics(DIM, activation="relu", init_scale=4.0)
    encoder = FloaterEncoder(TRACKS, DIM, dynamics, initial_std=1.0, name="decoder")
    with pytest.raises(UserError) as raised:
        encoder(2000)
    message = str(raised.value)
    assert message.startswith("decoder: the position encodings are not finite from position ")
    assert "--dynamics-damping" in message and "\n" not in message
    assert message.endswith("; or use --dynamics-activation tanh")
    position = int(message.split("position ")[2].split()[0])
    assert torch.isfinite(encoder(position)).all()


def test_what_is_finite_as_far_as_asked_is_given():
    """Training needs no more than that, so validation must not need more either."""
    dynamics = MLPDynamics(DIM, activation="relu", init_scale=4.0)
    encoder = FloaterEncoder(TRACKS, DIM, dynamics, initial_std=1.0)
    trained = encoder(9)
    with torch.no_grad():
        assert torch.equal(encoder(9), trained)
        with pytest.raises(UserError, match="not finite from position"):
            encoder(2000)


def test_tables_follow_the_device_precision():
    encoder = floater()
    with torch.no_grad():
        single = encoder(10)
        double = encoder.double()(10)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)


def test_state_holds_parameters_only():
    """No table in a checkpoint: it can be computed, and would go stale."""
    encoder = floater()
    with torch.no_grad():
        encoder(30)
    assert sorted(encoder.state_dict()) == [
        "dynamics.fc1.bias",
        "dynamics.fc1.weight",
        "dynamics.fc2.bias",
        "dynamics.fc2.weight",
        "initial",
    ]


def test_build_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    for kind in ("floater", "learned", "rnn", "sinusoidal"):
        torch.manual_seed(5)
        options = PositionOptions(position_encoder=kind).validate()
        a = build_position_encoder(options, 2, 6, seed=1)
        b = build_position_encoder(options, 2, 6, seed=1)
        assert torch.equal(torch.randn(3), expected)
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert build_position_encoder(PositionOptions(position_encoder="none"), 2, 6) is None


@pytest.mark.parametrize("frequencies, hidden", [(64, 32), (16, 256)])
def test_fourier_vectors_have_their_deviation_at_the_start(frequencies, hidden):
    torch.manual_seed(0)
    encoder = FourierEncoder(64, 32, frequencies=frequencies, hidden_dim=hidden, initial_std=0.25)
    with torch.no_grad():
        assert encoder(300).std().item() == pytest.approx(0.25, rel=0.2)


def test_angles_of_rotary_far_out():
    """Whole turns are removed before anything is rounded."""
    speeds = [10000.0 ** (-pair / 4) for pair in range(4)]
    wanted = torch.tensor([math.remainder(65_535 * speed, 2 * math.pi) for speed in speeds])
    found = RotaryEncoder(1, 4)(65_536)[0, -1]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_new_shaw_has_positions_unless_there_are_others():
    def spread(**options):
        options = PositionOptions(position_encoder="shaw", **options).validate()
        wanted = {"heads": 2, "causal": True, "seed": 1}
        return build_position_encoder(
            options, 2, 16, beside_input=options.keeps_input, **wanted
        ).table.std()

    assert 0.5 < spread() * 8**0.5 < 2 and not spread(keep_input_positions=True)
