"""Every error is one line that says what to do, wherever it happens."""

import resource
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from commands import TRAINING
from conftest import make_model
from launching import run
from torch.multiprocessing.spawn import ProcessRaisedException

from fairseq_floater import cli, errors
from fairseq_floater.checkpoints.files import read_checkpoint, write_checkpoint
from fairseq_floater.errors import UserError
from fairseq_floater.models.limits import lift_task_limits
from fairseq_floater.training.resume import require_own_state

pytest_plugins = ["commands"]

WORKER = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "trainer.py", line 500, in load_checkpoint
    raise Exception(
{kind}: {message}
"""


def shown_by_hook(error, monkeypatch, capsys):
    """Return what a fairseq program prints about a fatal error, or None for a traceback."""
    tracebacks = []
    monkeypatch.setattr(sys, "argv", ["/bin/fairseq-train"])
    monkeypatch.setattr(sys, "excepthook", lambda *_: tracebacks.append(1))
    monkeypatch.delenv("FLOATER_TRACEBACK", raising=False)
    sys.excepthook = errors.showing_one_line(sys.excepthook)
    sys.excepthook(type(error), error, None)
    printed = capsys.readouterr().err
    assert bool(tracebacks) != bool(printed)
    return printed or None


@pytest.mark.parametrize(
    "kind, message, shown",
    [
        ("fairseq_floater.errors.UserError", "base.pt does not fit: mend", "base.pt does not fit"),
        ("ValueError", "loaded state dict contains a parameter group that doesn't match the size "
         "of optimizer's group", "--finetune-from-model"),
        ("RuntimeError", "Expected to have finished reduction in the prior iteration before "
         "starting a new one.", "add --find-unused-parameters"),
        ("RuntimeError", "CUDA error", None),
    ],
)  # fmt: skip
def test_errors_of_the_process_of_a_gpu(kind, message, shown, monkeypatch, capsys):
    """fairseq starts one for each GPU; only the text of a traceback is left of its error."""
    error = ProcessRaisedException(WORKER.format(kind=kind, message=message), 1, 4711)
    printed = shown_by_hook(error, monkeypatch, capsys)
    if shown is None:
        assert printed is None
    else:
        assert printed.startswith("error: ") and printed.count("\n") == 1 and shown in printed


@pytest.mark.parametrize("sizes", [(100, 60), ((4, 6), (6, 4)), ((3, 2), (3, 5))], ids=str)
def test_optimizer_of_another_model(sizes):
    """torch only counts parameters, and in half precision each model is one flat parameter."""

    def one(size):
        parameter = torch.nn.Parameter(torch.zeros(size))
        parameter.grad = torch.ones(size)
        return SimpleNamespace(optimizer=torch.optim.Adam([parameter]))  # as in fairseq's

    whole, part, again = one(sizes[0]), one(sizes[1]), one(sizes[0])
    require_own_state(whole)
    whole.optimizer.step()
    for other in (part, again):
        other.optimizer.load_state_dict(whole.optimizer.state_dict())
    require_own_state(again)
    composite = SimpleNamespace(optimizer=SimpleNamespace(optimizers={"a": again, "b": part}))
    for foreign in (part, composite):
        with pytest.raises(UserError, match="a model with other parameters: start from it with"):
            require_own_state(foreign)


def test_other_optimizers_are_let_be():
    """Programs that import the plugin may use others, with states not as long as parameters."""
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (3, 2)]
    optimizer = torch.optim.LBFGS(parameters)

    def closure():
        optimizer.zero_grad()
        loss = sum((parameter - 1).square().sum() for parameter in parameters)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert all(torch.allclose(parameter, torch.ones(())) for parameter in parameters)


def test_optimizer_of_another_model_on_the_command_line(corpus, trained, tmp_path):
    whole = trained["floater"][0]
    flags = ["--arch", "floater_transformer", "--freeze-base", "--restore-file", whole]
    result = run("train", corpus, *TRAINING, *flags, "--save-dir", tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.err
    assert "the optimizer's state in this checkpoint is that of" in result.last_error_line


FOREIGN = {
    "no model": {"cfg": {"lr": 1}},
    "a list": {"model": [1, 2]},
    "numbers": {"model": {"a": 1.0}},
    "other weights": {"model": {"a": torch.ones(2)}, "cfg": {"lr": 1}},
    "other options": {"model": {"a": torch.ones(2)}, "args": [1]},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("command", ["inspect", "convert", "bake", "export", "average"])
def test_files_of_other_programs(command, name, tmp_path, capsys):
    path = tmp_path / "foreign.pt"
    torch.save(FOREIGN[name], path)
    more = {"convert": [tmp_path / "out"], "export": [tmp_path / "out", "--to", "fairseq"]}
    arguments = [command, path, *more.get(command, [])]
    if command == "average":
        path.rename(tmp_path / "checkpoint1.pt")
        arguments = [command, tmp_path, "--last", 1, "--out", tmp_path / "out"]
    code = cli.main([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    if command == "average" and name == "other options":
        assert code == 0 and (tmp_path / "out").exists(), message
    else:
        assert code == 1 and message.startswith("error: ") and message.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_traceback_can_be_had(monkeypatch):
    monkeypatch.setenv("FLOATER_TRACEBACK", "1")
    with pytest.raises(UserError, match="no checkpoint at"):
        cli.main(["inspect", "nowhere.pt"])


def test_what_cannot_be_written_leaves_nothing(trained, tmp_path, capsys):
    there = tmp_path / "there"
    there.write_text("a file")
    arguments = ["bake", str(trained["floater"][0]), "--positions", "10", "--out"]
    assert cli.main([*arguments, str(there / "baked.pt")]) == 1
    assert "there" in capsys.readouterr().err
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as on a full disk
    try:
        code = cli.main([*arguments, str(tmp_path / "baked.pt")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capsys.readouterr().err
    assert code == 1 and "baked.pt" in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == [there]
    write_checkpoint({"model": {"a": torch.ones(1)}}, tmp_path / "good.pt")
    assert read_checkpoint(str(tmp_path / "good.pt"))["model"]["a"].item() == 1


def test_legacy_tasks_keep_no_limit_of_their_own():
    """They hold their options as ``args``."""
    task = Namespace(cfg=None, args=Namespace(max_source_positions=1024, max_target_positions=50))
    model = make_model()
    lift_task_limits(task, model.stacks().values())
    assert task.args.max_source_positions == model.max_positions()[0] > 10**6
    assert task.args.max_target_positions == 50


def test_sentences_are_cut_where_they_are_asked_to_be():
    cfg = Namespace(max_source_positions=1024, max_target_positions=1024, truncate_source=True)
    lift_task_limits(Namespace(cfg=cfg), make_model().stacks().values())
    assert cfg.max_source_positions == 1024 and cfg.max_target_positions > 10**6


def test_a_command_that_is_interrupted(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fairseq_floater.commands.user_dir.run", interrupted)
    assert cli.main(["user-dir"]) == 130
    assert capsys.readouterr().err == (
        "error: interrupted: any file that was being written is unchanged\n"
    )
