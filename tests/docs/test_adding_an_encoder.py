"""The documentation's worked example of a position encoder, used as the page says."""

import re

import pytest
import torch
from commands import TRAINING
from conftest import make_batch, make_model
from launching import run, succeed
from places import ROOT
from saved import save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported
from fairseq_floater.checkpoints.export.program import WholeModel, trace
from fairseq_floater.encoders import KINDS
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

PAGE = (ROOT / "docs" / "adding-an-encoder.md").read_text()


def example():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    return code


@pytest.fixture
def polynomial():
    """The example's class, registered for one test."""
    names = {}
    exec(compile(example(), "example", "exec"), names)
    yield names["PolynomialEncoder"]
    del KINDS["polynomial"]


def test_the_example_is_short():
    code = [line for line in example().splitlines() if line.strip()]
    assert len(code) <= 30


def test_where_the_user_dir_may_stand():
    for given in (
        ["--user-dir", "my_positions", "bake", "a", "--out", "b"],
        ["bake", "a", "--user-dir=my_positions", "--out", "b"],
    ):
        assert cli._user_dir(given) == ("my_positions", ["bake", "a", "--out", "b"])
    shortened = ["--user", "my_positions", "user-dir"]
    assert cli._user_dir(shortened) == (None, shortened)
    with pytest.raises(SystemExit):
        cli._parser().parse_args(shortened)


@pytest.mark.parametrize("injection", ["bias", "additive"])
def test_padding_steps_and_gradients(polynomial, injection):
    model = make_model(position_encoder="polynomial", position_injection=injection)
    batch = make_batch()
    tokens = batch["prev_output_tokens"]
    with torch.no_grad():
        whole = model(**batch)[0]
        encoded, state = model.encoder(batch["src_tokens"], batch["src_lengths"]), {}
        for step in range(tokens.size(1)):
            out, _ = model.decoder(
                tokens[:, : step + 1], encoder_out=encoded, incremental_state=state
            )
            real = tokens[:, step] != 1
            assert ((out[:, -1] - whole[:, step])[real].abs() < 1e-5).all()
        alone = model(
            batch["src_tokens"][:1, -5:], torch.tensor([5]), batch["prev_output_tokens"][:1]
        )[0]
    torch.testing.assert_close(alone[0], whole[0], atol=1e-5, rtol=0)
    model.train()
    model(**batch)[0].square().sum().backward()
    for stack in model.stacks().values():
        assert stack.position_encoder.coefficients.grad.abs().sum() > 0


def test_it_is_what_it_says(polynomial):
    encoder = polynomial(2, 3, 1.0, "model").double()
    c = encoder.coefficients
    with torch.no_grad():
        for i in (0, 1, 50, 2000):
            x = i / 100
            wanted = c[:, 0] + c[:, 1] * x + c[:, 2] * x**2 + c[:, 3] * x**3
            torch.testing.assert_close(encoder(i + 1)[:, i], wanted)


def test_it_leaves_as_a_program_alone(polynomial):
    """No other export target knows its positions beyond a table."""
    model = make_model(position_encoder="polynomial").eval()
    with pytest.raises(UserError, match="--position-encoder polynomial.*: use --to torch"):
        build_exported(model, Lengths(6, 7))
    batch = make_batch()
    with torch.no_grad():
        meant = model(**batch)[0]
        program = trace(WholeModel(model, 20)).module()  # leaves the model unusable
        torch.testing.assert_close(program(*batch.values()), meant)


def test_the_command(corpus, tmp_path):
    """Another user directory brings its own kind; the rest of the plugin comes with it."""
    folder = tmp_path / "my_positions"
    folder.mkdir()
    (folder / "__init__.py").write_text(example())
    (command,) = re.findall(r"```bash\nfairseq-train bin (.*?)```", PAGE, flags=re.S)
    assert "--user-dir my_positions --arch floater_transformer_tiny" in command
    assert "--position-encoder polynomial" in command
    options = [*TRAINING, "--arch", "floater_transformer", "--max-update", 3]
    options[options.index("--user-dir") + 1] = folder
    options += ["--position-encoder", "polynomial", "--save-dir", tmp_path / "model"]
    assert len(succeed("train", corpus, *options).losses()) == 3
    unknown = run("train", corpus, *options, "--position-encoder", "nothing")
    assert unknown.returncode == 2 and "polynomial" in unknown.last_error_line
    (command,) = re.findall(r"```bash\nfloater (.*?)\n```", PAGE, flags=re.S)
    inspect = command.replace("checkpoints/checkpoint_best.pt", "{}").split()
    checkpoint = tmp_path / "model" / "checkpoint_last.pt"
    inspect = [str(part).format(checkpoint) for part in inspect]
    inspect[inspect.index("my_positions")] = folder
    assert "polynomial" in succeed("floater", *inspect).out
    (tmp_path / "empty").mkdir()
    taken = tmp_path / "json"  # Python's own module
    taken.mkdir()
    (taken / "__init__.py").touch()
    for arguments, message in [
        (["inspect", checkpoint], "give the folder of its module as --user-dir"),
        (["--user-dir", taken, "inspect", checkpoint], f"--user-dir {taken} cannot be imported"),
        *(
            (["--user-dir", given, "inspect", checkpoint], "has no __init__.py: name the folder")
            for given in (tmp_path / "nowhere", tmp_path / "empty", folder / "__init__.py", "")
        ),
    ]:
        wrong = run("floater", *arguments)
        assert wrong.returncode == 1 and message in wrong.last_error_line
        assert len(wrong.err.splitlines()) == 1


def test_floater_on_a_peer_from_outside(corpus, tmp_path):
    """On ALiBi that is registered under another name, FLOATER's biases act as on ALiBi itself."""
    folder = tmp_path / "my_peer"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from fairseq_floater.encoders import KINDS, AlibiEncoder\n\n\n"
        "class Slopes(AlibiEncoder):\n    kind = 'slopes'\n\n\n"
        "KINDS['slopes'] = Slopes\n"
    )
    ordinary = [*TRAINING, "--arch", "floater_transformer", "--max-update", 3]
    options = [*ordinary, "--user-dir", folder]
    losses = {
        base: succeed(
            *("train", corpus, *of, "--base-positions", base, "--save-dir", tmp_path / base)
        ).losses()
        for base, of in (("slopes", options), ("alibi", ordinary), ("sinusoidal", ordinary))
    }
    assert losses["slopes"] == losses["alibi"] != losses["sinusoidal"]
    seen_by_one_head = ["--base-positions", "slopes", "--attention-log-scale", 9]
    wrong = run("train", corpus, *options, *seen_by_one_head)
    assert "which differ with --alibi-form nonsymmetric" in wrong.last_error_line
    checkpoint = tmp_path / "slopes" / "checkpoint_last.pt"
    wrong = run("floater", "inspect", checkpoint)
    assert "--base-positions is 'slopes': choose" in wrong.last_error_line
    assert wrong.last_error_line.endswith("give the folder of its module as --user-dir")
    assert "slopes" in succeed("floater", "inspect", checkpoint, "--user-dir", folder).out
    save_stock(tmp_path / "base.pt")
    convert = ["convert", tmp_path / "base.pt", tmp_path / "out.pt", "--base-positions", "slopes"]
    assert run("floater", *convert).returncode == 2  # argparse knows no such choice
    succeed("floater", *convert, "--user-dir", folder)
    unknown = run("train", corpus, *options, "--base-positions", "nothing")
    assert "slopes" in unknown.last_error_line and "rotary" in unknown.last_error_line
