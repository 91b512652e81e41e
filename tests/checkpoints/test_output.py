"""A tool never overwrites what it reads, and writes a file as a whole or not at all."""

import os
import resource
import stat

import pytest
from saved import save_floater, save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.models.baked import baked_lengths


def floater(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    save_floater(tmp_path / "floater.pt")
    shape = {"encoder_layers": 1, "decoder_layers": 1, "position_blocks": "input"}
    save_floater(tmp_path / "additive.pt", position_injection="additive", **shape)
    save_stock(tmp_path / "base.pt")
    for name in ("floater", "base", "additive"):
        (tmp_path / f"{name}.link").symlink_to(f"{name}.pt")
        (tmp_path / f"{name}.hard").hardlink_to(tmp_path / f"{name}.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TOOLS = {
    "export to torch": ("floater", lambda read, out: ["export", read, out, "--to", "torch"]),
    "export to fairseq": ("additive", lambda read, out: ["export", read, out, "--to", "fairseq"]),
    "convert": ("base", lambda read, out: ["convert", read, out]),
    "average": ("floater", lambda read, out: ["average", read, read, "--out", out]),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_input_is_not_overwritten(tool, folder, capsys):
    name, command = TOOLS[tool]
    read = folder / f"{name}.pt"
    before = read.read_bytes()
    for output in (read, f"{name}.pt", f"./{name}.pt", f"{name}.link", f"{name}.hard"):
        assert floater(*command(read, output)) == 1
        error = capsys.readouterr().err
        assert "would be overwritten by what is made from it" in error and error.count("\n") == 1
    assert read.read_bytes() == before
    assert (folder / f"{name}.link").is_symlink() and (folder / f"{name}.hard").samefile(read)


def test_pictures_are_not_drawn_over_a_checkpoint(folder, capsys):
    (folder / "encoder.png").hardlink_to("floater.pt")
    assert floater("heatmap", "floater.pt", "encoder.png") == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert floater("inspect", "encoder.png", "--out", ".", "--length", 8) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert read_checkpoint("floater.pt")


def test_bake_rewrites_its_file_with_mode_and_link(folder):
    (folder / "floater.pt").chmod(0o600)
    before = (folder / "floater.pt").read_bytes()
    assert floater("bake", "floater.link", "--positions", 10) == 0
    assert (folder / "floater.link").is_symlink()
    assert stat.S_IMODE((folder / "floater.pt").stat().st_mode) == 0o600
    assert baked_lengths(read_checkpoint("floater.pt")["model"]) == {"encoder": 257, "decoder": 257}
    assert (folder / "floater.hard").read_bytes() == before  # the hard link keeps the old content


WRITES = {
    "convert": ["convert", "base.pt", "out.pt"],
    "bake": ["bake", "floater.pt", "--out", "out.pt", "--positions", "10"],
    "average": ["average", "floater.pt", "floater.pt", "--out", "out.pt"],
    "export to torch": ["export", "additive.pt", "out.pt2", "--to", "torch", "--positions", "8"],
    "export to fairseq": ["export", "additive.pt", "out.pt", "--to", "fairseq"],
    "heatmap": ["heatmap", "additive.pt", "out.png", "--positions", "9"],
    "inspect": ["inspect", "additive.pt", "--out", ".", "--length", "8"],
}


@pytest.mark.parametrize("tool", WRITES)
def test_a_full_disk_leaves_nothing(tool, folder, capsys):
    before = sorted(os.listdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        code = floater(*WRITES[tool])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    name = "encoder.heatmap.png" if tool == "inspect" else WRITES[tool][-1]
    name = next((part for part in WRITES[tool] if part.startswith("out.")), name)
    assert code == 1 and name in error and "File too large" in error and error.count("\n") == 1
    assert sorted(os.listdir()) == before
