"""A checkpoint with a flipped bit or with an impossible weight is named and not used."""

import io
import os
import random
import zipfile

import pytest
import torch
from conftest import make_model
from fairseq import checkpoint_utils
from saved import save_floater, save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checksums import require_intact
from fairseq_floater.errors import DamagedCheckpoint, UserError

NAME = "decoder.layers.0.fc1.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save_floater(tmp_path_factory.mktemp("good") / "good.pt")


def flipped(path, member, out):
    """Copy ``path`` to ``out`` with one bit changed in the middle of a member of the archive."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(member))
        with archive.open(info) as part:
            data = part.read()
    content[content.index(data) + len(data) // 2] ^= 4
    out.write_bytes(content)
    return out


def read_by_fairseq(path):
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


@pytest.mark.parametrize("read", [read_by_fairseq, lambda path: read_checkpoint(str(path))])
@pytest.mark.parametrize("member", ["/data/7", "/data.pkl"])
def test_a_flipped_bit_is_found(read, member, good, tmp_path):
    path = flipped(good, member, tmp_path / "flipped.pt")
    assert read(good)
    with pytest.raises(DamagedCheckpoint) as error:
        read(path)
    assert "flipped.pt is damaged, in good" in str(error.value) and member in str(error.value)
    assert "its check sum shows that it is not what was written" in str(error.value)


def test_files_without_sums_can_be_read(tmp_path):
    state = {"model": {"a": torch.ones(3)}}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    sums = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(state, tmp_path / "none.pt")
    finally:
        torch.serialization.set_crc32_options(sums)
    for name in ("old.pt", "none.pt"):
        assert read_checkpoint(str(tmp_path / name))["model"]["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("compressed", "never compresses"),
        ("bomb", "larger than its"),
        ("many at one place", "larger than its"),
    ],
)
def test_archives_that_torch_does_not_write(kind, reason, good, tmp_path):
    """They would take up far more memory than disk."""
    path = tmp_path / "bomb.pt"
    if kind in ("compressed", "bomb"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            content = random.Random(1).randbytes(1000) if kind == "compressed" else bytes(10**6)
            archive.writestr("archive/data.pkl", content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", bytes(10**6))
            for number in range(5):
                info = archive.infolist()[0]
                other = zipfile.ZipInfo(f"archive/{number}")
                other.header_offset, other.CRC = info.header_offset, info.CRC
                other.file_size = other.compress_size = info.file_size
                archive.filelist.append(other)
    with pytest.raises(DamagedCheckpoint, match=reason):
        require_intact(path)


def nan(weight):
    weight.view(-1)[3] = float("nan")
    return weight


DAMAGES = {
    "nan": (nan, "1 of its 512 numbers are not finite"),
    "inf": (lambda w: w.index_fill(0, torch.tensor([1]), float("inf")), "16 of its 512 numbers"),
    "complex": (lambda w: w.to(torch.complex64), "its dtype is torch.complex64"),
    "integers": (lambda w: w.to(torch.int32), "is torch.int32 there, torch.float32 here"),
    "bytes": (lambda w: w.to(torch.float8_e4m3fn), "float8_e4m3fn, in which no model is trained"),
    "sparse": (lambda w: w.to_sparse(), "is not a dense tensor, but torch.sparse_coo"),
    "endless": (lambda w: torch.ones(1).expand(10**7, 10**7), "holds fewer numbers than its shape"),
    "flat": (lambda w: w.flatten(), "is 512 there, 32 x 16 here"),
    "a number": (lambda w: 1.0, "it is of type float, not a tensor"),
    "missing": (lambda w: None, f"it lacks {NAME}"),
}
TOOLS = {
    "inspect": ["inspect", "{bad}"],
    "heatmap": ["heatmap", "{bad}", "{out}.png"],
    "bake": ["bake", "{bad}", "--out", "{out}"],
    "export": ["export", "{bad}", "{out}", "--to", "torch"],
    "convert": ["convert", "{bad}", "{out}"],
    "average": ["average", "{good}", "{bad}", "--out", "{out}"],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_are_none_are_named_by_every_tool(damage, good, tmp_path, capsys):
    change, message = DAMAGES[damage]

    def damaged(state):
        weights = state["model"] = dict(state["model"])
        if (weight := change(weights[NAME].clone())) is None:
            del weights[NAME]
        else:
            weights[NAME] = weight

    (tmp_path / "stock").mkdir()
    stock = save_stock(tmp_path / "stock" / "bad.pt", change=damaged)
    ours = save_floater(tmp_path / "bad.pt", change=damaged)
    for tool, arguments in TOOLS.items():
        paths = {"bad": stock if tool == "convert" else ours, "good": good}
        arguments = [part.format(out=tmp_path / "out", **paths) for part in arguments]
        assert cli.main(arguments) == 1, tool
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "bad.pt" in error and NAME in error, error
        if tool != "average":  # which does not build the model
            assert message in error
        assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("command", ["average", "inspect", "convert"])
def test_a_model_without_weights(command, good, tmp_path, capsys):
    torch.save({**read_checkpoint(str(good)), "model": {}}, tmp_path / "empty.pt")
    more = {"average": [good, "--out", tmp_path / "out"], "convert": [tmp_path / "out"]}
    arguments = [command, tmp_path / "empty.pt", *more.get(command, [])]
    assert cli.main([str(argument) for argument in arguments]) == 1
    assert "empty.pt is damaged: its model has no weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [TOOLS[tool] for tool in ("inspect", "heatmap", "bake", "export")]
    + [["export", "{bad}", "{out}", "--to", "fairseq"]],
    ids=lambda arguments: "-".join(arguments[::3]),
)
def test_trajectories_that_outgrow_all_numbers_are_those_of_a_file(arguments, tmp_path, capsys):
    """Each weight is finite, but after a few positions nothing is."""

    def grown(state):
        for name in ("dynamics.fc1.weight", "dynamics.fc2.weight"):
            state["model"][f"encoder.position_encoder.{name}"].mul_(1e12)

    options = {"position_blocks": "input", "position_injection": "additive"}
    relu = {"dynamics": "mlp", "dynamics_activation": "relu"}
    bad = save_floater(tmp_path / "bad.pt", change=grown, **relu, **options)
    out = tmp_path / "out"
    assert cli.main([part.format(bad=bad, out=out) for part in arguments]) == 1
    error = capsys.readouterr().err
    assert "bad.pt: " in error and "not finite" in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == ["bad.pt"]


def test_fairseq_is_told_too():
    """Its programs load what they read into the same model."""
    model = make_model()
    weights = model.state_dict()
    weights[NAME] = nan(weights[NAME].clone())
    with pytest.raises(UserError, match=f"in {NAME}: 1 of its 512 numbers are not finite"):
        make_model(seed=1).load_state_dict(weights)


def test_damage_anywhere_is_found_or_harmless(good, tmp_path):
    """Between its parts, the archive has padding and names that torch does not read."""
    content, generator = good.read_bytes(), random.Random(0)
    wanted = torch.load(io.BytesIO(content))["model"]
    path, found = tmp_path / "flipped.pt", 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            weights = read_checkpoint(str(path))["model"]
        except UserError:
            found += 1
        else:
            assert all(torch.equal(weights[name], weight) for name, weight in wanted.items())
    assert found > 20


def test_a_part_that_says_it_is_a_folder(good, tmp_path):
    """torch would read nothing of it, and take whatever is in memory as the weight."""
    content = bytearray(good.read_bytes())
    entry = content.rindex(b"PK\1\2", 0, content.rindex(b"/data/3"))
    content[entry + 38] ^= 0x10  # external attributes
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"/data/3\d*: it says that it is a folder"):
        read_checkpoint(str(tmp_path / "bad.pt"))


@pytest.mark.parametrize("cfg", [[1], (1, 2), "x", {"a": 1}], ids=str)
def test_options_that_are_none(cfg, good, tmp_path):
    state = torch.load(good, weights_only=False)
    torch.save({**state, "args": None, "cfg": cfg}, tmp_path / "bad.pt")
    with pytest.raises(DamagedCheckpoint, match="its cfg says nothing about the model"):
        read_by_fairseq(tmp_path / "bad.pt")
