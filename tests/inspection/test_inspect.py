"""``floater inspect``: its measures against closed forms, and its reports on checkpoints."""

import json
import math
from argparse import Namespace

import pytest
import torch
from conftest import SMALL, make_model, make_stock
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_floater import cli
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.errors import UserError
from fairseq_floater.inspection import picture
from fairseq_floater.inspection.encoders import count_parameters, solver_errors
from fairseq_floater.inspection.findings import inspect_checkpoint
from fairseq_floater.inspection.picture import draw
from fairseq_floater.inspection.spectrum import (
    Spectrum,
    dominant_period,
    effective_rank,
    similarity,
    spread,
    variance_shares,
)
from fairseq_floater.inspection.text import as_text
from fairseq_floater.models.config import FloaterTransformerConfig


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Use one thread: more of them only slow down tables as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def waves(positions, *periods):
    """Return a sine and a cosine of each period: (1, positions, 2 * periods)."""
    angles = 2 * math.pi * torch.arange(positions, dtype=torch.float64)[:, None]
    angles = angles / torch.tensor(periods, dtype=torch.float64)
    return torch.cat([angles.sin(), angles.cos()], dim=1).unsqueeze(0)


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rotated(table):
    """Return the same table in another basis, which must not change any measure."""
    return table @ torch.linalg.qr(noise(table.size(2), table.size(2))).Q


# --- numbers


@pytest.mark.parametrize("padding", [4, 100], ids=["tall", "wide"])
def test_a_table_of_rank_k_has_k_equal_shares(padding):
    """Waves of whole periods are orthogonal, of equal size and centred."""
    table = rotated(torch.nn.functional.pad(waves(64, 64, 16), (0, padding)) + 3.0)
    shares = variance_shares(table)
    assert torch.allclose(shares[0, :4], torch.full((4,), 0.25, dtype=torch.float64))
    assert shares[0, 4:].max() < 1e-12
    assert effective_rank(shares).item() == pytest.approx(4)


def test_shares_are_squared_singular_values():
    table = noise(2, 30, 7)
    squares = torch.linalg.svdvals(table - table.mean(dim=1, keepdim=True)).square()
    assert torch.allclose(variance_shares(table), squares / squares.sum(dim=1, keepdim=True))
    unequal = torch.tensor([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]])
    assert effective_rank(unequal).tolist() == pytest.approx([2.0, 1.6])


def test_the_period_is_that_of_the_strongest_wave_beside_any_trend():
    weak = 0.3 * noise(1, 64, 6)
    trend = torch.arange(64.0)[:, None] * torch.arange(6.0)
    mixed = waves(64, 8, 16, 4) * torch.tensor([3.0, 1, 1, 3, 1, 1])
    assert dominant_period(mixed + weak + trend + 5.0) == 8.0
    assert dominant_period(waves(64, 64 / 5)) == pytest.approx(12.8)


def test_what_has_no_period():
    line = torch.arange(64.0)[:, None] * torch.ones(5) + 100.0  # rounded to float32, like encodings
    for flat in (noise(2, 64, 16), torch.ones(2, 64, 5), line.expand(2, -1, -1) / 3):
        assert dominant_period(flat.double()) is None
    for few in (1, 2, 8):
        assert dominant_period(noise(1, few, 3)) is None
    slow = torch.arange(64.0).square()[None, :, None].double()
    assert dominant_period(slow) == 64  # it has not completed a period


def test_similarity_of_orthogonal_and_of_repeating_encodings():
    """Centring unit vectors leaves cosines of -1 / (n - 1) between them."""
    (cosines,) = similarity(torch.eye(5, dtype=torch.float64).unsqueeze(0) + 2.0)
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.allclose(cosines.diagonal(), torch.ones(5, dtype=torch.float64))
    assert torch.allclose(cosines[off], torch.full((20,), -0.25, dtype=torch.float64))
    (cosines,) = similarity(waves(32, 8))
    distance = torch.arange(32)[:, None] - torch.arange(32)
    assert torch.allclose(cosines, (2 * math.pi * distance.double() / 8).cos())


def test_spread_of_tracks():
    opposite = torch.tensor([1.0, -1.0])[:, None, None] * torch.ones(2, 3, 4)
    assert spread(opposite).tolist() == [1.0, 1.0, 1.0]
    assert spread(torch.ones(2, 3, 4)).tolist() == [0.0, 0.0, 0.0]
    orthogonal = torch.eye(4).unsqueeze(1)  # 4 tracks, 1 position
    assert spread(orthogonal).item() == pytest.approx(math.sqrt(3 / 4))


def test_a_constant_table_has_no_spectrum():
    spectrum = Spectrum.of(torch.full((2, 32, 4), 0.1, dtype=torch.float64))
    assert spectrum == Spectrum(0.0, {1: 0.0, 2: 0.0, 4: 0.0, 8: 0.0}, None)


# --- checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that saves a small model with some options, and returns the path."""

    def make(change=lambda weights: None, updates=None, **options):
        args = Namespace(arch="floater_transformer", **{**SMALL, **options})
        ARCH_CONFIG_REGISTRY["floater_transformer"](args)
        weights = make_model(**options).state_dict()
        change(weights)
        state = {"model": weights, "cfg": {"model": vars(FloaterTransformerConfig.of(args))}}
        state["optimizer_history"] = [{"num_updates": updates}] if updates else []
        torch.save(state, tmp_path / "checkpoint.pt")
        return tmp_path / "checkpoint.pt"

    return make


def floater(capsys, *arguments):
    """Return the exit code, output and errors of the command line."""
    code = cli.main([str(part) for part in arguments])
    return (code, *capsys.readouterr())


def test_every_combination_is_described(checkpoint, combination, capsys):
    path = checkpoint(updates=1234, **combination)
    code, out, _ = floater(capsys, "inspect", path, "--length", 8)
    assert code == 0
    kind, blocks = combination["position_encoder"], combination["position_blocks"]
    rows = dict(line.split("  ", 1) for line in out.splitlines() if line)
    rows = {label: value.split() for label, value in rows.items()}
    assert rows["checkpoint"] == "checkpoint.pt, 1,234 updates".split()
    assert rows["position encoder"] == [kind]
    if kind == "none":
        assert "decoder" not in out and "norm" not in out
        return
    bias = combination["position_injection"] == "bias"
    count = 3 if blocks == "all" else 1  # encoder blocks
    assert rows["encoder tracks"][:4] == [str(count), "block" + "s" * (count > 1), "x",
                                          "3:" if bias else "1:"]  # fmt: skip
    assert len(rows["norm, position 128"]) == 2
    assert ("solver's relative error" in rows) == (kind == "floater")
    tracks = count * (3 if bias else 1)
    assert ("distance of tracks / norm, position 8" in rows) == (tracks > 1)


def test_the_numbers_are_those_of_the_model(checkpoint):
    model = make_model(dynamics="mlp")
    path = checkpoint(dynamics="mlp")
    found = inspect_checkpoint(path, 6)
    assert found.model_parameters == sum(p.numel() for p in model.parameters())
    assert found.position_parameters == count_parameters(load_model(path).model)
    assert found.updates is None and "updates" not in as_text(found)
    with torch.no_grad():
        table = model.decoder.position_encoder(97)
    decoder = found.stacks["decoder"]
    assert list(decoder.norms) == [0, 6, 12, 24, 48, 96]
    for position, norm in decoder.norms.items():
        assert norm == pytest.approx(float(table[:, position].norm(dim=1).mean()), rel=1e-5)
    assert decoder.tracks[3] == "cross query" and (decoder.blocks, decoder.positions) == (2, 97)
    equation, dynamics = decoder.equation, model.decoder.position_encoder.dynamics
    assert equation.solver_error == solver_errors(load_model(path).model, 6)["decoder"]
    first, second = (w.detach()[:, :16] for w in (dynamics.fc1.weight, dynamics.fc2.weight))
    assert equation.state_norm == pytest.approx(float(torch.linalg.svdvals(first)[0]))
    assert equation.hidden_norm == pytest.approx(float(torch.linalg.svdvals(second)[0]))
    product = 0.1 * equation.state_norm * equation.hidden_norm
    assert equation.stiffness == pytest.approx(product)


@pytest.mark.parametrize("kind", ["linear", "driven"])
def test_the_equation_of_rotations(checkpoint, kind):
    found = inspect_checkpoint(checkpoint(dynamics=kind), 6)
    equation = found.stacks["decoder"].equation
    rates = make_model(dynamics=kind).decoder.position_encoder.dynamics.rates.detach()
    periods = sorted((20 * math.pi / rates.abs()).tolist())
    assert [equation.shortest_period, equation.longest_period] == pytest.approx(
        [periods[0], periods[-1]]
    )
    assert equation.hidden_dim == {"linear": None, "driven": 16}[kind]
    assert 0 < equation.solver_error < 1e-3
    assert f"{periods[0]:.1f}" in as_text(found) and "W1" not in as_text(found)
    assert found.settings["dynamics"] == kind and "ode_solver" not in found.settings


def test_known_encodings_have_known_spectra(checkpoint):
    """Every track of this learned table is one circle of period 8, around a point."""

    def circles(weights):
        for stack in ("encoder", "decoder"):
            table = torch.nn.functional.pad(waves(64, 8), (0, 14)) + 2.0
            weights[f"{stack}.position_encoder.table"] = table.float().expand_as(
                weights[f"{stack}.position_encoder.table"]
            )

    options = {"max_source_positions": 64, "max_target_positions": 64}
    path = checkpoint(circles, position_encoder="learned", **options)
    found = inspect_checkpoint(path, 32).stacks["encoder"]
    assert list(found.spectra) == [32, 64]
    for spectrum in found.spectra.values():
        assert spectrum.period == 8.0 and spectrum.effective_rank == pytest.approx(2.0, rel=1e-4)
        assert list(spectrum.variance.values()) == pytest.approx([0.5, 1, 1, 1], rel=1e-4)
    assert max(found.spreads.values()) < 1e-6


def test_a_learned_table_ends(checkpoint):
    options = {"max_source_positions": 20, "max_target_positions": 50}
    found = inspect_checkpoint(checkpoint(position_encoder="learned", **options), 32)
    encoder, decoder = found.stacks.values()
    assert list(encoder.norms) == [0, 19] and list(encoder.spectra) == [20]
    assert list(decoder.norms) == [0, 32, 49] and list(decoder.spectra) == [32, 50]
    text = as_text(found)
    assert "20 (end of the table)" in text and "50 (end of the table)" in text
    (line,) = (line for line in text.splitlines() if line.startswith("norm, position 32"))
    assert line.split()[3] == "-" and float(line.split()[4]) > 0


@pytest.mark.parametrize("encoder", ["rnn", "learned"])
def test_encodings_that_are_no_numbers_are_refused(encoder, checkpoint):
    path = checkpoint(position_encoder=encoder)
    state = torch.load(path, weights_only=True)
    for name, weight in state["model"].items():
        if ".position_encoder." in name:
            weight.fill_(math.nan)
    torch.save(state, path)
    with pytest.raises(UserError, match=r"in encoder\.position_encoder\..* are not finite"):
        inspect_checkpoint(path)


def test_encodings_that_explode_are_shown_as_far_as_they_are_finite(checkpoint):
    def steep(weights):
        for name in weights:
            if "encoder.position_encoder.dynamics" in name and name.endswith("weight"):
                weights[name] = 4 * weights[name]

    path = checkpoint(steep, dynamics_activation="relu", dynamics_damping=0.0)
    encoder = inspect_checkpoint(path, 8).stacks["encoder"]
    reached = encoder.positions - 1
    assert reached in (8, 16, 32, 64) and encoder.limit == f"not finite up to {2 * reached}"
    assert list(encoder.norms)[-1] == reached and encoder.norms[reached] > 1e3
    assert inspect_checkpoint(path, 8).stacks["decoder"].limit is None
    with pytest.raises(UserError, match="encoder: the position encodings are not finite"):
        inspect_checkpoint(path, 256)


def test_a_stack_without_blocks_has_nothing_to_show(checkpoint, tmp_path, capsys):
    path = checkpoint(encoder_layers=0)
    assert list(inspect_checkpoint(path, 8).stacks) == ["decoder"]
    assert floater(capsys, "heatmap", path, tmp_path / "a.png", "--positions", 8)[0] == 0
    assert (tmp_path / "a.png").stat().st_size > 0


def test_stored_encodings_are_reported(checkpoint):
    def store(weights):
        weights["encoder.position_encoder.baked"] = torch.zeros(9, 40, 16)
        weights["encoder.position_encoder.baked_of"] = torch.zeros(8, dtype=torch.long)

    plain = inspect_checkpoint(checkpoint(), 8)
    found = inspect_checkpoint(checkpoint(store), 8)
    assert [s.baked_positions for s in found.stacks.values()] == [40, None]
    assert found.stacks["encoder"].norms == plain.stacks["encoder"].norms


def test_json_holds_the_same(checkpoint, capsys):
    path = checkpoint(updates=7)
    code, out, _ = floater(capsys, "inspect", path, "--length", 8, "--json")
    found, expected = json.loads(out), inspect_checkpoint(path, 8)
    assert code == 0 and found["updates"] == 7 and found["settings"]["position_delta"] == 0.1
    norms = {int(k): v for k, v in found["stacks"]["encoder"]["norms"].items()}
    assert norms == expected.stacks["encoder"].norms


def test_json_has_no_numbers_that_are_none(checkpoint, capsys):
    """A rate of 0 never comes round: its period is infinite."""

    def stop(weights):
        for name, weight in weights.items():
            if name.endswith("dynamics.rates"):
                weight.zero_()

    path = checkpoint(stop, dynamics="linear")
    code, out, _ = floater(capsys, "inspect", path, "--length", 8, "--json")
    assert code == 0 and "null" in out
    json.loads(out, parse_constant=pytest.fail)


def test_a_model_without_positions_has_no_pictures(checkpoint, tmp_path, capsys):
    path = checkpoint(position_encoder="none")
    code, _, said = floater(capsys, "inspect", path, "--out", tmp_path / "out")
    assert code == 0 and "has no positions to draw" in said


def test_pictures(checkpoint, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    path = checkpoint(position_encoder="rnn", position_blocks="input")
    code, printed, _ = floater(capsys, "inspect", path, "--length", 4, "--out", out)
    assert code == 0 and f"\n{out / 'encoder.png'}\n" in printed
    names = ["decoder.heatmap.png", "decoder.png", "encoder.heatmap.png", "encoder.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    draw(noise(4, 33, 6) * 0.0, ["self query", "self key"], 2, out / "zeros.png", "zeros")
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.iterdir())


@pytest.mark.parametrize(
    "options, rows, several",
    [
        ({"position_encoder": "alibi"}, "distance", "distances"),
        ({"position_encoder": "shaw"}, "row of the table", "rows of the table"),
        ({}, "position", "positions"),
    ],
)
def test_pictures_and_text_say_what_the_rows_are(
    options, rows, several, checkpoint, tmp_path, monkeypatch, capsys
):
    drawn = []
    monkeypatch.setattr(picture, "save_picture", lambda figure, *_, **__: drawn.append(figure))
    monkeypatch.setattr(picture.heatmap, "draw", lambda *_: None)
    path = checkpoint(**options)
    picture.draw_inspection(path, tmp_path, "encoder", 4)
    axes = [axis for axis in drawn[0].axes if axis.get_xlabel()]
    assert {axis.get_xlabel().removesuffix(" (tokens)") for axis in axes} >= {rows}
    assert ("position" in str([axis.get_xlabel() for axis in axes])) == (rows == "position")
    assert several in drawn[0].subfigs[0].get_suptitle()
    assert f"{several} looked at" in floater(capsys, "inspect", path, "--length", 4)[1]


def test_mistakes_are_one_line(checkpoint, tmp_path, capsys):
    path = checkpoint()
    (tmp_path / "file").write_text("no folder")
    stock = tmp_path / "stock.pt"
    torch.save({"model": make_stock().state_dict(), "cfg": {"model": {"dropout": 0.1}}}, stock)
    mistakes = {
        "no checkpoint at": [tmp_path / "missing.pt"],
        "does not hold a floater_transformer": [stock],
        "--length must be >= 2 positions, got 1": [path, "--length", 1],
        "cannot be made: File exists": [path, "--out", tmp_path / "file"],
        "cannot be made: Not a directory": [path, "--out", tmp_path / "file" / "inside"],
    }
    for message, arguments in mistakes.items():
        code, out, err = floater(capsys, "inspect", *arguments)
        assert code == 1 and out == "" and message in err and err.count("\n") == 1, message
