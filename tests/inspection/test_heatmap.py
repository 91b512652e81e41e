"""``floater heatmap``: pictures of every position encoder."""

from argparse import Namespace

import pytest
import torch
from conftest import SMALL, make_model
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_floater import cli
from fairseq_floater.errors import UserError
from fairseq_floater.inspection.encoders import load_position_encoder
from fairseq_floater.models.config import to_config


def save_checkpoint(path, **options):
    """A checkpoint as fairseq writes it, of an untrained model."""
    model = make_model(**options)
    args = Namespace(**{**SMALL, **options})
    ARCH_CONFIG_REGISTRY["floater_transformer"](args)
    config = {k: v for k, v in vars(to_config(args)).items() if not k.startswith("_")}
    torch.save(
        {
            "args": None,
            "cfg": {"model": config},
            "model": model.state_dict(),
            "optimizer_history": [{"num_updates": 0, "lr_scheduler_state": {}}],
            "last_optimizer_state": None,
            "extra_state": {"train_iterator": {"epoch": 1}},
        },
        path,
    )
    return model


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_heatmap_of_every_encoder(combination, stack, tmp_path, capsys):
    """The encoder read back alone gives the model's own vectors, and the picture is drawn."""
    checkpoint, picture = tmp_path / "checkpoint.pt", tmp_path / "new" / "picture.png"
    model = save_checkpoint(checkpoint, **combination, encoder_layers=2)
    code = cli.main(["heatmap", str(checkpoint), str(picture), "--stack", stack, "--positions=30"])
    if combination["position_encoder"] == "none":
        assert code == 1 and "nothing to show" in capsys.readouterr().err
        return
    assert code == 0 and picture.read_bytes().startswith(b"\x89PNG")
    alone, _ = load_position_encoder(checkpoint, stack)
    with torch.no_grad():
        assert torch.equal(alone(30), getattr(model, stack).position_encoder(30))


def test_heatmap_refusals(tmp_path, capsys):
    foreign, broken = tmp_path / "foreign.pt", tmp_path / "broken.pt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    broken.write_bytes(foreign.read_bytes()[:200])
    for path, message in (
        (tmp_path / "absent.pt", "no checkpoint at"),
        (broken, "truncated or not a fairseq checkpoint"),
    ):
        assert cli.main(["heatmap", str(path), str(tmp_path / "x.png")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    with pytest.raises(UserError):
        load_position_encoder(foreign)
    assert cli.main(["heatmap", str(foreign), str(broken)]) == 1
    assert "broken.pt has no ending of a picture: choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["heatmap", str(foreign), "x.png", "--positions", "0"])
