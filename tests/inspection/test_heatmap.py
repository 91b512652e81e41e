"""``floater heatmap``: pictures of every position encoder."""

from argparse import Namespace

import pytest
import torch
from conftest import SMALL, WITHIN, make_model
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_floater import cli
from fairseq_floater.errors import UserError
from fairseq_floater.inspection import heatmap
from fairseq_floater.inspection.encoders import load_part
from fairseq_floater.inspection.picture import draw_inspection
from fairseq_floater.inspection.tables import shown_table
from fairseq_floater.models.config import FloaterTransformerConfig


def save_checkpoint(path, **options):
    """Save an untrained model in a checkpoint like those of fairseq, and return the model."""
    model = make_model(**options)
    args = Namespace(**{**SMALL, **options})
    ARCH_CONFIG_REGISTRY["floater_transformer"](args)
    config = {
        k: v for k, v in vars(FloaterTransformerConfig.of(args)).items() if not k.startswith("_")
    }
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


def test_heatmap_of_every_encoder(combination, tmp_path, capsys):
    """The encoder read back alone gives the model's own vectors, and a picture is drawn."""
    checkpoint, picture = tmp_path / "checkpoint.pt", tmp_path / "new" / "picture.png"
    model = save_checkpoint(checkpoint, **combination, encoder_layers=2, decoder_layers=1)
    stack = "encoder" if combination["position_blocks"] == "all" else "decoder"
    code = cli.main(["heatmap", str(checkpoint), str(picture), "--stack", stack, "--positions=30"])
    if combination["position_encoder"] == "none":
        assert code == 1 and "nothing to show" in capsys.readouterr().err
        return
    assert code == 0 and picture.read_bytes().startswith(b"\x89PNG")
    for stack in ("encoder", "decoder"):
        alone = load_part(checkpoint, stack).encoder
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
        load_part(foreign)
    assert cli.main(["heatmap", str(foreign), str(broken)]) == 1
    assert "broken.pt has an unknown ending: choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["heatmap", str(foreign), "x.png", "--positions", "0"])


FORMS = ["rotary", "alibi learned", "shaw", "fire", "floater rotation", "floater scores"]


@pytest.mark.parametrize("name", FORMS)
def test_positions_within_attention_are_drawn_and_described(name, tmp_path, capsys):
    """Angles are by position, scores and vectors by distance, each with its axes named."""
    checkpoint = tmp_path / "checkpoint.pt"
    model = save_checkpoint(checkpoint, **WITHIN[name])
    stack = "decoder"  # has positions whichever attention they act in
    picture = tmp_path / "picture.png"
    arguments = [str(checkpoint), str(picture), "--stack", stack, "--positions", "30"]
    assert cli.main(["heatmap", *arguments]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert cli.main(["inspect", str(checkpoint), "--length", "8"]) == 0
    out = capsys.readouterr().out
    injection = model.decoder.options.injection
    rows = {"scores": "distance", "relative": "row of the table"}.get(injection, "position")
    assert f"norm, {rows} 0" in out
    with torch.no_grad():
        table = model.decoder.position_encoder(30)
    shown = shown_table(load_part(checkpoint, stack), 30)
    assert torch.equal(shown, table.cos() if injection == "rotation" else table)


def test_rows_of_models_beside_each_other_have_their_own_names(tmp_path, monkeypatch):
    names = ["floater", "alibi"]
    for name in names:
        save_checkpoint(tmp_path / f"{name}.pt", position_encoder=name)
    drawn = []
    monkeypatch.setattr(heatmap, "save_picture", lambda figure, *_, **__: drawn.append(figure))
    checkpoints = [tmp_path / f"{name}.pt" for name in names]
    heatmap.draw_side_by_side(checkpoints, tmp_path / "x.png", "encoder", 5)
    panels = [axis for axis in drawn[0].axes if axis.get_title()]
    assert [axis.get_ylabel() for axis in panels] == ["position", "distance"]


def test_what_a_head_does_not_see_is_left_blank(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", position_encoder="alibi")
    before, after = shown_table(load_part(tmp_path / "checkpoint.pt", "encoder"), 5)[:2]
    assert before.isnan().tolist() == [[False, False]] + 4 * [[False, True]]
    assert after.isnan().tolist() == 5 * [[True, False]]


@pytest.mark.parametrize(
    "options, rows",
    [
        (WITHIN["floater on rotary"], "position"),
        (WITHIN["floater in cross-attention on relative bias"], "distance"),
        (WITHIN["recurrent on shaw"], "row of the table"),
    ],
    ids=["rotary", "relative-bias", "shaw"],
)
def test_what_biases_stand_beside_is_shown_too(options, rows, tmp_path, capsys):
    """It has a name and a kind of its own, and is shown whether or not the stack has biases."""
    checkpoint, picture = tmp_path / "checkpoint.pt", tmp_path / "picture.png"
    model = save_checkpoint(checkpoint, **options)
    part = load_part(checkpoint, "encoder-base")
    assert part.use.encoder_class.kind == options["base_positions"]
    with torch.no_grad():
        assert torch.equal(part.encoder(30), model.encoder.base_encoder(30))
    arguments = [str(checkpoint), str(picture), "--stack", "encoder-base", "--positions", "30"]
    assert cli.main(["heatmap", *arguments]) == 0 and picture.exists()
    assert cli.main(["inspect", str(checkpoint), "--length", "8"]) == 0
    if options["base_positions"] == "shaw":  # as inspect --out does for every part
        assert all(
            path.exists() for path in draw_inspection(checkpoint, tmp_path, "encoder-base", 8)
        )
    out = capsys.readouterr().out
    cross = options.get("position_attention") == "cross"
    assert ("encoder tracks" not in out) == cross and "encoder-base tracks" in out
    assert f"norm, {rows} 0" in out
    assert cli.main(["heatmap", str(checkpoint), str(picture), "--stack", "base"]) == 1
    assert "has no positions in base: choose from" in capsys.readouterr().err
