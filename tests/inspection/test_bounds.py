"""Requests that take all memory or never end are refused by name; long work shows its progress."""

import os

import pytest
import torch
from conftest import make_model
from saved import save_floater

from fairseq_floater import cli, progress
from fairseq_floater.errors import UserError
from fairseq_floater.inspection import encoders
from fairseq_floater.inspection.encoders import solver_error
from fairseq_floater.inspection.picture import draw_inspection
from fairseq_floater.ode import solve
from fairseq_floater.ode.grid import parse_steps_per_position

ENDLESS = {
    "inspect": ["inspect", "floater.pt", "--length", "100000000"],
    "heatmap": ["heatmap", "floater.pt", "out.png", "--positions", "100000000"],
    "side by side": ["heatmap", "floater.pt", "floater.pt", "out.png", "--positions", "100000000"],
    "bake": ["bake", "floater.pt", "--out", "out.pt", "--positions", "100000000"],
    "export": ["export", "floater.pt", "out.pt2", "--to", "torch", "--positions", "100000000"],
}


@pytest.mark.parametrize("command", ENDLESS)
def test_endless_tables_are_refused(command, tmp_path, monkeypatch, capsys):
    save_floater(tmp_path / "floater.pt")
    monkeypatch.chdir(tmp_path)
    assert cli.main(ENDLESS[command]) == 1
    error = capsys.readouterr().err
    asked = "--length 100000000" if command == "inspect" else "--positions 100000000"
    assert asked in error and "positions are computed: ask for fewer" in error
    assert error.count("\n") == 1 and os.listdir() == ["floater.pt"]


def test_pictures_of_all_pairs_are_bounded(tmp_path):
    save_floater(tmp_path / "floater.pt")
    with pytest.raises(UserError, match=r"--length 20000 makes pictures .* at most \d,\d\d\d are"):
        draw_inspection(tmp_path / "floater.pt", tmp_path, "encoder", 20_000)
    assert os.listdir(tmp_path) == ["floater.pt"]


@pytest.mark.parametrize("steps", ["1e5", "101", 10**9])
def test_steps_are_bounded(steps):
    with pytest.raises(UserError, match="at most 100, got"):
        parse_steps_per_position(steps)
    assert parse_steps_per_position("100") == 100


def test_the_solver_s_error_is_that_of_one_solve(monkeypatch):
    """It is computed piece by piece."""
    monkeypatch.setattr(encoders, "PIECE", 8)
    encoder = make_model(seed=1, dynamics="mlp").encoder.position_encoder
    for length in (1, 9, 18):  # no piece, one, and three
        times = torch.arange(length, dtype=torch.float64) * encoder.delta
        with torch.no_grad():
            used = encoder(length).double()
            start = encoder.initial.double()
            exact = solve(encoder.dynamics, start, times, steps_per_position=20)
        wanted = (used - exact).norm() / exact.norm()
        assert solver_error(encoder, length) == pytest.approx(float(wanted), rel=1e-6, abs=1e-15)


def test_long_work_says_how_far_it_is(monkeypatch, capsys):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    encoder = make_model(seed=1, dynamics="mlp").encoder.position_encoder
    with torch.no_grad():
        encoder(2000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("encoder: position ") and lines[0].endswith(" of 2,000")
    assert 3 < len(lines) < 20
