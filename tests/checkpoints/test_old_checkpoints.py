"""Everything still reads checkpoints of version 0.1.0, and computes the same from them."""

import json
import sys
import types
from collections import OrderedDict

import pytest
import torch
from commands import GENERATION, TRAINING
from conftest import make_batch
from fairseq.logging.meters import AverageMeter
from launching import succeed
from places import TESTS

from fairseq_floater import cli
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.loading import load_model, load_options
from fairseq_floater.encoders import FloaterEncoder

pytest_plugins = ["commands"]

FIXTURES = TESTS / "fixtures"
EXPECTED = json.loads((FIXTURES / "expected_0.1.0.json").read_text())


def old(kind):
    return FIXTURES / f"{kind}_0.1.0.pt"


def small_batch():
    """Return a batch with only the fixtures' 24 symbols."""
    batch = make_batch()
    tokens = {k: v.clamp(max=23) for k, v in batch.items() if k != "src_lengths"}
    return {**batch, **tokens}


@pytest.mark.parametrize("kind", ["floater", "learned"])
def test_logits_are_the_same(kind):
    model = load_model(old(kind)).model
    with torch.no_grad():
        found = model(**small_batch())[0].flatten()[::7]
    torch.testing.assert_close(found, torch.tensor(EXPECTED[f"{kind} logits"]), atol=1e-5, rtol=0)


def test_meters_of_old_trainings_are_read(tmp_path, monkeypatch):
    """Until 2020 fairseq kept what it measured in objects, whose module has since moved."""
    there = types.ModuleType("fairseq.meters")
    there.AverageMeter = type("AverageMeter", (), {"__module__": there.__name__})
    meter = there.AverageMeter()
    meter.__dict__.update(val=1.0, avg=1.5, sum=3.0, count=2)
    state = torch.load(old("learned"))
    state["extra_state"]["train_meters"] = OrderedDict(train_loss=meter)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, there.__name__, there)
        torch.save(state, tmp_path / "old.pt")
    found = read_checkpoint(tmp_path / "old.pt")["extra_state"]["train_meters"]["train_loss"]
    assert type(found) is AverageMeter and (found.avg, found.count) == (1.5, 2)


@pytest.mark.parametrize("kind", ["floater", "learned"])
def test_translations_are_the_same(kind, corpus):
    found = succeed("generate", corpus, *GENERATION, "--path", old(kind)).hypotheses()
    assert len(found) == len(EXPECTED[kind])
    for number, (score, text) in found.items():
        assert [pytest.approx(score, abs=1e-3), text] == EXPECTED[kind][str(number)]


def test_baked_tables_are_used(monkeypatch):
    """The fingerprint is still that of the weights beside the table."""
    monkeypatch.setattr(FloaterEncoder, "trajectories", None)
    encoder = load_model(old("floater")).model.decoder.position_encoder
    with torch.no_grad():
        assert encoder(65).shape == (12, 65, 16)


def test_inspection_finds_the_same(capsys):
    assert cli.main(["inspect", str(old("floater")), "--json", "--length", "16"]) == 0
    found, wanted = json.loads(capsys.readouterr().out), EXPECTED["floater inspect"]
    assert found["settings"].items() >= wanted["settings"].items()
    for name in ("updates", "position_injection", "position_parameters", "model_parameters"):
        assert found[name] == wanted[name]
    for name, stack in wanted["stacks"].items():
        here = found["stacks"][name]
        assert here["baked_positions"] == stack["stored_positions"] == 65
        assert here["tracks"] == stack["tracks"] and here["blocks"] == stack["blocks"]
        assert here["norms"] == pytest.approx(stack["norms"], rel=1e-4)
        # The error is computed from a small difference, so rounding shows in its third digit.
        wanted_error = stack["equation"]["solver_error"]
        assert here["equation"]["solver_error"] == pytest.approx(wanted_error, rel=1e-2)


def test_tools_write_present_names(tmp_path):
    """What bake, average and export write can be read again."""
    baked, average = tmp_path / "baked.pt", tmp_path / "average.pt"
    assert cli.main(["bake", str(old("floater")), "--out", str(baked), "--positions", "100"]) == 0
    assert cli.main(["average", str(baked), str(old("floater")), "--out", str(average)]) == 0
    names = set(read_checkpoint(str(average))["model"])
    assert "encoder.position_encoder.initial" in names
    assert not any(".positions." in name for name in names)
    before, after = (load_model(path).model for path in (old("floater"), average))
    batch = small_batch()
    with torch.no_grad():
        torch.testing.assert_close(after(**batch)[0], before(**batch)[0], atol=1e-5, rtol=0)
    assert cli.main(["export", str(baked), str(tmp_path / "model.pt2"), "--to", "torch"]) == 0
    program = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        found = program(*batch.values())
    torch.testing.assert_close(found, before(**batch)[0], atol=1e-5, rtol=0)


def test_training_goes_on_with_its_optimizer(corpus, tmp_path):
    """The old flags still work, and a message gives their new names once."""
    flags = [*TRAINING, "--arch", "floater_transformer", "--share-all-embeddings"]
    flags += ["--dynamics-update-interval", 2, "--dynamics-lr-scale", 0.5]
    flags += ["--restore-file", old("floater"), "--save-dir", tmp_path, "--max-update", 50]
    result = succeed("train", corpus, *flags)
    assert len(result.losses()) == 2 and "Loaded checkpoint" in result.out + result.err
    told = "--dynamics-update-interval is now called --position-encoder-update-interval"
    assert (result.out + result.err).count(told) == 1
    _, config = load_options(tmp_path / "checkpoint_last.pt")
    assert config.position_encoder_update_interval == 2
