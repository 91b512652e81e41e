"""Options in a checkpoint that have the wrong type, or describe no model or an endless one."""

from argparse import Namespace

import pytest
import torch
from fairseq import checkpoint_utils
from saved import save_floater, save_stock

from fairseq_floater import cli
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.errors import UserError
from fairseq_floater.models.roberta_config import FloaterRobertaConfig
from fairseq_floater.models.size import least_parameters

WRONG = {
    "a text for a number": ("encoder_layers", "six", "--encoder-layers is 'six' (str), not"),
    "a list for a number": ("decoder_ffn_embed_dim", [1], "not a whole number"),
    "a fraction": ("encoder_attention_heads", 2.5, "not a whole number"),
    "nothing": ("decoder_layers", None, "--decoder-layers is None (NoneType)"),
    "no width": ("encoder_embed_dim", None, "--encoder-embed-dim is None (NoneType)"),
    "not a number": ("position_delta", float("nan"), "between 1e-6 and 1e6, got nan"),
    "a number for a switch": ("share_all_embeddings", 3, "not true or false"),
    "a list for a text": ("dynamics_activation", ["tanh"], "not a text"),
    "texts for a list": ("encoder_layers_to_keep", "a,b", "not a list of whole numbers"),
    "an unknown encoder": ("position_encoder", "other", "--position-encoder is 'other': choose"),
    "an encoder that is a list": ("position_encoder", ["floater"], "not a text"),
    "a choice": ("activation_fn", "none such", "not one of relu, gelu,"),
    "code": ("encoder_xformers_att_config", "__import__('os').mkdir('ran')", "not a plain value"),
    "a path that is none": ("decoder_embed_path", -0.5, "not a text"),
    "an endless model": ("encoder_layers", 10**9, "a model with more than"),
    "a wide model": ("decoder_ffn_embed_dim", 10**12, "a model with more than"),
    "wide dynamics": ("dynamics_hidden_dim", 10**7, "a model with more than"),
    "many heads": ("encoder_attention_heads", 3, "there is no such model (AssertionError"),
    "a long step": ("position_delta", 1e300, "--position-delta must be between"),
    "a short step": ("position_delta", 1e-300, "--position-delta must be between"),
    "many steps": ("ode_steps_per_position", "1e5", "at most 100"),
}  # fmt: skip
PEERS = {
    "table": ({"position_encoder": "learned"}, "max_source_positions"),
    "fourier": ({"position_encoder": "fourier"}, "fourier_hidden_dim"),
    "shaw": ({"position_encoder": "shaw"}, "shaw_max_distance"),
}
TOOLS = {
    "inspect": ["inspect", "{bad}"],
    "heatmap": ["heatmap", "{bad}", "{out}.png"],
    "bake": ["bake", "{bad}", "--out", "{out}"],
    "export": ["export", "{bad}", "{out}", "--to", "fairseq"],
    "average": ["average", "{bad}", "--out", "{out}"],
    "convert": ["convert", "{base}", "{out}"],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_tool_says_which_option(wrong, tmp_path, capsys):
    name, value, message = WRONG[wrong]

    def change(state):
        setattr(state["args"], name, value)

    bad = save_floater(tmp_path / "bad.pt", change=change, dynamics="mlp")
    base = save_stock(tmp_path / "base.pt", change=change)
    of_ours = name.startswith(("position", "dynamics", "ode"))
    for tool, arguments in TOOLS.items():
        if tool == "convert" and of_ours or tool == "average" and "no such model" in message:
            continue
        arguments = [part.format(bad=bad, base=base, out=tmp_path / "out") for part in arguments]
        assert cli.main(arguments) == 1, tool
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert ("base.pt" if tool == "convert" else "bad.pt") in error
        assert not list(tmp_path.glob("out*"))


def test_the_command_is_named_where_it_says_so(tmp_path):
    good = save_floater(tmp_path / "good.pt", base_positions="rotary")
    message = r"good.pt with --model-overrides {'rotary_base': -1.0}: --rotary-base must be > 1"
    with pytest.raises(UserError, match=message):
        checkpoint_utils.load_checkpoint_to_cpu(str(good), {"rotary_base": -1.0, "data": "bin"})
    bad = tmp_path / "bad.pt"
    save_floater(bad, change=lambda state: setattr(state["args"], "position_delta", -3.0))
    with pytest.raises(UserError, match="must be between 1e-6 and 1e6, got -3.0; copy it again"):
        checkpoint_utils.load_checkpoint_to_cpu(str(bad), {"dropout": 0.0})


def test_files_of_embeddings_need_not_be_there(tmp_path, capsys):
    def change(state):
        state["args"].encoder_embed_path = "/nowhere/emb.txt"

    model = save_floater(tmp_path / "model.pt", change=change)
    base = save_stock(tmp_path / "base.pt", change=change)
    assert load_model(model).config.encoder_embed_path == "/nowhere/emb.txt"
    for tool in ("inspect", "bake", "average", "convert"):
        place = {"model": model, "bad": model, "base": base, "out": tmp_path / f"{tool}.pt"}
        assert cli.main([part.format(**place) for part in TOOLS[tool]]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    "options", [{}, {"decoder_layers": 2, "decoder_embed_dim": 16}, {"decoder_layers": "[(8, 3)]"}]
)
def test_the_average_of_models_of_which_nothing_is_known(options, tmp_path, capsys):
    def change(state):
        state["args"] = Namespace(arch="somebody_elses", **options)

    base = save_stock(tmp_path / "theirs.pt", change=change)
    assert cli.main(["average", str(base), str(base), "--out", str(tmp_path / "mean.pt")]) == 0
    assert cli.main(["convert", str(base), str(tmp_path / "out.pt")]) == 1
    assert "theirs.pt holds a somebody_elses: give a" in capsys.readouterr().err


def test_models_of_other_kinds(tmp_path, capsys):
    def change(state):
        state["args"].arch = "transformer_lm_gpt"
        del state["args"].encoder_layers
        state["args"].decoder_layers = None

    base = save_stock(tmp_path / "lm.pt", change=change)
    assert cli.main(["average", str(base), str(base), "--out", str(tmp_path / "mean.pt")]) == 0
    assert cli.main(["convert", str(base), str(tmp_path / "out.pt")]) == 1
    assert "lm.pt holds a transformer_lm_gpt: give a checkpoint of a" in capsys.readouterr().err


@pytest.mark.parametrize("peer", PEERS)
def test_endless_peers(peer, tmp_path, capsys):
    options, name = PEERS[peer]
    bad = tmp_path / "bad.pt"
    save_floater(bad, change=lambda state: setattr(state["args"], name, 10**9), **options)
    assert cli.main(["inspect", str(bad)]) == 1
    assert "a model with more than" in capsys.readouterr().err


@pytest.mark.parametrize("injection", ["bias", "rotation"])
def test_sizes_that_are_not_read_are_let_be(injection, tmp_path):
    """Training accepts them as well: linear dynamics have no hidden units."""

    def widen(state):
        state["args"].dynamics_hidden_dim = 10**7

    path = save_floater(tmp_path / "wide.pt", change=widen, position_injection=injection)
    assert load_model(path).config.dynamics == "linear"


#: options that are large, yet no parameter has their size
LARGE = {
    "relative-bias": {"relative_max_distance": 10**9},
    "shaw": {"max_source_positions": 10**6, "max_target_positions": 10**6},
    "rotary": {"max_source_positions": 10**6},
}


@pytest.mark.parametrize("peer", LARGE)
def test_large_numbers_that_no_parameter_has_are_let_be(peer, tmp_path):
    path = save_floater(tmp_path / "large.pt", position_encoder=peer, **LARGE[peer])
    config = load_model(path).config
    assert {name: getattr(config, name) for name in LARGE[peer]} == LARGE[peer]


def test_a_long_roberta_without_a_table_is_let_be():
    for positions in ({"position_encoder": "rotary"}, {"base_positions": "none"}):
        config = FloaterRobertaConfig(max_positions=10**6, **positions)
        assert least_parameters(config) < 10**8
    config.base_positions = "learned"
    assert least_parameters(config) > 10**8


def test_fairseq_evaluates_no_option_of_a_checkpoint(tmp_path, monkeypatch):
    """It would do so even for its own Transformer, but the checkpoint is refused before that."""
    monkeypatch.chdir(tmp_path)
    code = "__import__('os').mkdir('ran')"
    for save in (save_stock, save_floater):
        save("bad.pt", change=lambda s: setattr(s["args"], "decoder_xformers_att_config", code))
        with pytest.raises(UserError, match="decoder_xformers_att_config is .*, not a plain value"):
            checkpoint_utils.load_checkpoint_to_cpu("bad.pt")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [save_floater, save_stock])
def test_heads_that_do_not_share_out_the_width(save, tmp_path):
    path = save(tmp_path / "bad.pt")
    state = read_checkpoint(str(path))
    options = state["args"] or state["cfg"]["model"]
    change = options.__setitem__ if isinstance(options, dict) else vars(options).__setitem__
    change("encoder_attention_heads", 3)
    torch.save(state, path)
    message = "bad.pt describes no model: its --encoder-embed-dim 16 cannot"
    with pytest.raises(UserError, match=message):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


@pytest.mark.parametrize("name", [1e300, "other", None, ["floater_transformer"]])
def test_a_name_of_no_model(name, tmp_path):
    path = save_floater(tmp_path / "bad.pt")
    state = read_checkpoint(str(path))
    cfg = {"model": {**vars(state["args"]), "_name": name, "arch": None}}
    torch.save({**state, "args": None, "cfg": cfg}, path)
    message = r"bad.pt has options .* its model is .*, which does not exist"
    with pytest.raises(UserError, match=message):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_files_of_pre_trained_embeddings_need_not_be_there(tmp_path):
    """The checkpoint has the embeddings that were read from them, as training left them."""
    path = save_floater(tmp_path / "moved.pt")
    state = read_checkpoint(str(path))
    state["args"].encoder_embed_path = str(tmp_path / "vectors.txt")
    torch.save(state, path)
    loaded = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert loaded["args"].encoder_embed_path is None
