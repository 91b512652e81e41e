"""A trained base model continues from where it was, with learned positions."""

from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
from commands import TRAINING
from conftest import make_batch, make_model, make_stock
from launching import run, succeed

from fairseq_floater.encoders import FloaterEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.models.warm_start import Weights

pytest_plugins = ["commands"]

FLOATER = {"position_encoder": "floater"}
RNN = {"position_encoder": "rnn", "position_injection": "bias"}
LEARNED = {"position_encoder": "learned"}
LEARNED_BASE = {"encoder_learned_pos": True, "decoder_learned_pos": True}
NO_BASE = {"no_token_positional_embeddings": True}
ADDITIVE = {"position_injection": "additive"}

#: options of the base model, and of ours
STARTS = {
    "floater": ({}, FLOATER),
    "random, damped": ({}, {**FLOATER, "dynamics_init": "random", "dynamics_damping": 0.5}),
    "mlp": ({}, {**FLOATER, "dynamics": "mlp"}),
    "driven, shared": ({}, {**FLOATER, "dynamics": "driven", "share_dynamics": "all"}),
    "shared": ({}, {**FLOATER, "share_dynamics": "all"}),
    "at the input": ({}, {**FLOATER, "position_blocks": "input"}),
    "learned base": (LEARNED_BASE, {**FLOATER, **LEARNED_BASE}),
    "base without positions": (NO_BASE, {**FLOATER, **NO_BASE}),
    "rnn, 1 layer": ({}, RNN),
    "rnn, 2 layers": ({}, {**RNN, "rnn_layers": 2}),
    "learned biases": ({}, {**LEARNED, "position_injection": "bias"}),
    "learned from sinusoids": ({}, LEARNED),
    "learned at the input from sinusoids": ({}, {**LEARNED, "position_blocks": "input"}),
    "learned from learned": (LEARNED_BASE, LEARNED),
    "learned from nothing": (NO_BASE, LEARNED),
    "additive floater from nothing": (NO_BASE, {**FLOATER, **ADDITIVE}),
    "pre-norm": ({"encoder_normalize_before": True, "decoder_normalize_before": True},) * 2,
}


def remembered(model, **options):
    """Return the weights of a stock model as if read from a checkpoint."""
    shape = {"encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2}
    return Weights.of(model.state_dict(), "base.pt", {**shape, **options})


@pytest.fixture(params=STARTS.values(), ids=STARTS)
def started(request):
    """A stock model, and ours with its weights, built from another seed."""
    base, options = request.param
    stock, ours = make_stock(seed=3, **base), make_model(seed=5, lively=False, **options)
    ours.load_state_dict(remembered(stock, **base))
    return stock, ours


def test_starts_from_the_base_models_logits(started):
    """Paper, section 3.3: with b = 0 and h = 0 the model is the base model."""
    stock, ours = started
    batch = make_batch()
    with torch.no_grad():
        assert (stock(**batch)[0] - ours(**batch)[0]).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["linear", "driven", "mlp"])
def test_starts_in_half_precision(kind, dtype):
    """With --fp16, fairseq converts a model to half precision before it loads the trained one."""
    stock, ours = make_stock(seed=3).to(dtype), make_model(seed=5, dynamics=kind).to(dtype)
    ours.load_state_dict(remembered(stock))
    assert not ours.encoder.position_encoder.initial.any()
    again = make_model(seed=6, dynamics=kind)
    again.load_state_dict(ours.state_dict())
    base = make_stock(seed=4)  # in float32, as are its sinusoids
    base.load_state_dict(stock.state_dict())
    batch = make_batch()
    with torch.no_grad():
        assert (base(**batch)[0] - again(**batch)[0]).abs().max() < 2e-6


def test_every_position_parameter_learns_from_there(started):
    _, ours = started
    batch = make_batch()
    before = {name: p.detach().clone() for name, p in ours.named_parameters()}
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        ours(**batch)[0].log_softmax(-1)[..., 5].mean().neg().backward()
        optimizer.step()
    names = [name for name in before if ".position_encoder." in name]
    stuck = [n for n in names if torch.equal(before[n], ours.get_parameter(n))]
    assert names and not stuck


def test_also_where_nothing_is_known_of_the_base():
    stock, ours = make_stock(seed=3), make_model(seed=5)
    ours.load_state_dict(stock.state_dict())
    batch = make_batch()
    with torch.no_grad():
        assert (stock(**batch)[0] - ours(**batch)[0]).abs().max() < 2e-6


def test_a_checkpoint_of_its_own_keeps_its_trajectories(combination):
    ours, again = make_model(seed=5, **combination), make_model(seed=6, **combination)
    again.load_state_dict(Weights.of(ours.state_dict(), "own.pt", ours.options))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def as_old_fairseq_wrote(model):
    """Return weights as in 2018: one matrix of projections, numbered norms, counted sinusoids."""
    old = OrderedDict()
    for name, value in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        module = stem.rpartition(".")[2]
        if module in ("q_proj", "k_proj", "v_proj"):
            parts = [model.state_dict()[f"{stem[:-6]}{p}_proj.{kind}"] for p in "qkv"]
            old[f"{stem[:-6]}in_proj_{kind}"] = torch.cat(parts)
        elif "layers" in name and module.endswith("layer_norm"):
            norms = ["self_attn", "encoder_attn", "final"]
            if name.startswith("encoder"):
                norms.remove("encoder_attn")
            number = norms.index(module.removesuffix("_layer_norm"))
            old[f"{stem[: -len(module)]}layer_norms.{number}.{kind}"] = value
        else:
            old[name] = value
    for stack in ("encoder", "decoder"):
        old[f"{stack}.embed_positions._float_tensor"] = torch.zeros(1)
    return old


def test_a_learned_table_of_ours_is_found_beside_biases_of_the_decoder():
    """The encoder has no others, so its table, whose name is ours, is as good as fairseq's."""
    theirs = make_model(seed=3, position_attention="cross", **LEARNED_BASE)
    ours = make_model(seed=5, lively=False, **LEARNED)
    weights = Weights.of(theirs.state_dict(), "ours.pt", theirs.options)
    with pytest.raises(UserError, match="nothing is loaded: its decoder has learned positions"):
        ours.load_state_dict(weights)


def test_a_table_that_is_missing_is_named():
    stock = make_stock(**LEARNED_BASE)
    weights = remembered(stock, **LEARNED_BASE)
    del weights["encoder.embed_positions.weight"]
    with pytest.raises(UserError, match="it lacks the encoder's learned table of positions"):
        make_model(lively=False, **LEARNED).load_state_dict(weights)


def test_reads_the_names_of_old_fairseq():
    stock, ours = make_stock(seed=3), make_model(seed=5)
    old = as_old_fairseq_wrote(stock)
    assert "encoder.layers.0.self_attn.in_proj_weight" in old
    ours.load_state_dict(Weights.of(old, "old.pt", {"encoder_layers": 3}))
    batch = make_batch()
    with torch.no_grad():
        assert (stock(**batch)[0] - ours(**batch)[0]).abs().max() < 2e-6


REFUSED = {
    "heads": ({}, {"encoder_attention_heads": 4}, "--encoder-attention-heads is 2 there, 4 here"),
    "activation": ({"activation_fn": "gelu"}, {}, "--activation-fn is gelu there, relu here"),
    "width": (
        {"encoder_ffn_embed_dim": 32},
        {"encoder_ffn_embed_dim": 24},
        "--encoder-ffn-embed-dim is 32 there, 24 here; 15 weights differ in name or shape",
    ),
    "scale": (
        {"no_scale_embedding": True},
        {},
        "--no-scale-embedding is True there, False here",
    ),
    "scale that was not there yet": (
        {},
        {"no_scale_embedding": True},
        "--no-scale-embedding is False there, True here",
    ),
    "activation that was not there yet": (
        {},
        {"activation_fn": "gelu"},
        "--activation-fn is relu there, gelu here",
    ),
    "logits": ({}, {"attention_log_scale": 6.0}, "--attention-log-scale is None there, 6.0 here"),
    "depth": ({"decoder_layers": 2}, {"decoder_layers": 1}, "--decoder-layers is 2 there, 1 here"),
    "learned base": (
        LEARNED_BASE,
        {},
        "its encoder has learned positions at the input, this one sinusoidal; its decoder",
    ),
    "sinusoidal base": (
        {},
        LEARNED_BASE,
        "sinusoidal positions at the input, this one learned",
    ),
    "additive": (
        {},
        ADDITIVE,
        "its encoder has sinusoidal positions at the input, this one floater at all blocks",
    ),
    "sinusoids at all blocks": (
        {},
        {"position_encoder": "sinusoidal"},
        "sinusoidal positions at the input, this one sinusoidal at all blocks",
    ),
}


@pytest.mark.parametrize("base", [{}, LEARNED_BASE], ids=["sinusoidal", "learned"])
def test_positions_at_the_input_can_be_dropped(base, caplog):
    """The model then computes what the base model does without them; the log says so."""
    stock, ours = make_stock(seed=3, **base), make_model(seed=5, position_encoder="none")
    ours.load_state_dict(remembered(stock, **base))
    where = "learned" if base else "sinusoidal"
    for stack in ("encoder", "decoder"):
        said = f"the {stack} continues without positions; its {where} ones are dropped"
        assert said in caplog.text
        getattr(stock, stack).embed_positions = None
    with torch.no_grad():
        wanted, found = (model(**make_batch())[0] for model in (stock, ours))
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)


def test_positions_at_all_blocks_are_not_dropped(caplog):
    theirs, ours = make_model(position_injection="additive"), make_model(position_encoder="none")
    with pytest.raises(UserError, match="its encoder has floater at all blocks positions"):
        ours.load_state_dict(Weights.of(theirs.state_dict(), "base.pt", theirs.options))
    assert "dropped" not in caplog.text


def test_a_part_of_a_models_weights_leaves_the_rest():
    """fairseq's moving average loads such a part at every update: parameters, but no buffers."""
    model, other = (make_model(seed=n, decoder_normalize_before=True) for n in (3, 4))
    part = dict(other.named_parameters())
    model.load_state_dict(part, strict=False)
    assert model.decoder.layer_norm is not None
    batch = make_batch()
    with torch.no_grad():
        assert torch.equal(model(**batch)[0], other(**batch)[0])


@pytest.mark.parametrize(
    "base, options",
    [
        ({}, FLOATER),
        ({}, {"base_positions": "rotary"}),
        (NO_BASE, ADDITIVE),
    ],
)
def test_an_encoder_that_does_not_say_what_makes_it_vanish(base, options, monkeypatch):
    monkeypatch.setattr(FloaterEncoder, "output_parameters", lambda self: [])
    stock, ours = make_stock(seed=3, **base), make_model(seed=5, **options)
    with pytest.raises(
        UserError, match="FloaterEncoder of the encoder has no state without .*output_parameters"
    ):
        ours.load_state_dict(remembered(stock, **base))


@pytest.mark.parametrize("base, options, reason", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(base, options, reason):
    stock, ours = make_stock(seed=3, **base), make_model(seed=5, **options)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(UserError) as error:
        ours.load_state_dict(remembered(stock, **base))
    assert str(error.value).startswith("base.pt does not fit this model, nothing is loaded: ")
    assert reason in str(error.value) and "\n" not in str(error.value)
    for name, value in ours.state_dict().items():
        assert torch.equal(before[name], value), name


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"position_delta": 0.02}, "--position-delta is 0.1 there, 0.02 here"),
        ({"dynamics_activation": "sin"}, "--dynamics-activation is tanh there, sin here"),
        ({"dynamics_damping": 0.5}, "--dynamics-damping is 0.0 there, 0.5 here"),
        (NO_BASE, "its encoder has sinusoidal positions at the input, this one none"),
    ],
    ids=["delta", "activation", "damping", "base"],
)
def test_other_trajectories_do_not_fit_those_that_were_learned(change, reason):
    trained = make_model(seed=3)
    weights = Weights.of(trained.state_dict(), "ours.pt", trained.options)
    with pytest.raises(UserError) as error:
        make_model(seed=5, **change).load_state_dict(weights)
    assert reason in str(error.value)


def test_learned_trajectories_may_be_read_at_other_times_and_in_finer_steps():
    trained = make_model(seed=3, dynamics="mlp")
    weights = Weights.of(trained.state_dict(), "ours.pt", trained.options)
    for change in ({"ode_steps_per_position": "4"}, {"position_times": "sentences"}):
        make_model(seed=5, dynamics="mlp", **change).load_state_dict(weights)


def test_tied_weights_must_be_equal_there():
    stock = make_stock(seed=3)
    ours = make_model(seed=5, share_decoder_input_output_embed=True)
    with pytest.raises(UserError, match="are one weight here, two there"):
        ours.load_state_dict(remembered(stock))


def test_another_vocabulary_is_named():
    stock, ours = make_stock(seed=3), make_model(seed=5)
    weights = remembered(stock)
    weights["encoder.embed_tokens.weight"] = torch.zeros(30, 16)
    with pytest.raises(UserError, match="encoder.embed_tokens.weight is 30 x 16 there, 27 x 16"):
        ours.load_state_dict(weights)


def finetune(corpus, save_dir, *flags):
    return ["train", corpus, *TRAINING, "--arch", "floater_transformer", *flags] + [
        *("--max-update", 2, "--save-dir", save_dir)
    ]


@pytest.mark.parametrize("how", ["finetune", "restore"])
def test_one_flag_on_the_command_line(how, corpus, trained, tmp_path):
    base, log = trained["stock"]
    flags = ["--finetune-from-model", base]
    if how == "restore":
        reset = [
            f"--reset-{what}" for what in ("optimizer", "lr-scheduler", "dataloader", "meters")
        ]
        flags = ["--restore-file", base, *reset]
    result = succeed(*finetune(corpus, tmp_path, *flags))
    first, last = result.losses()[0], log.losses()[-1]
    assert first < log.losses()[0] - 0.5 and first < last + 0.5


def test_moving_averages_begin_as_the_model_that_is_loaded(corpus, trained, tmp_path):
    """fairseq would look for the weights in a checkpoint from which it has removed them."""
    flags = ["--finetune-from-model", trained["stock"][0], "--store-ema", "--ema-decay", 0.5]
    result = succeed(*finetune(corpus, tmp_path, *flags, "--lr", 0))
    assert result.losses()[0] < trained["stock"][1].losses()[0] - 0.5
    state = torch.load(tmp_path / "checkpoint_last.pt", weights_only=False)
    averages = state["extra_state"]["ema"]
    assert averages.keys() == state["model"].keys()
    for name, weight in state["model"].items():
        torch.testing.assert_close(averages[name], weight, msg=name)


@pytest.mark.parametrize(
    "more, reason",
    {
        "options": (
            ["--encoder-attention-heads", 4],
            "nothing is loaded: --encoder-attention-heads is 2 there, 4 here",
        ),
        "optimizer": ([], "--reset-optimizer"),
    }.values(),
    ids=["options", "optimizer"],
)
def test_mistakes_are_one_line(more, reason, corpus, trained, tmp_path):
    base, _ = trained["stock"]
    how = "--finetune-from-model" if more else "--restore-file"
    result = run(*finetune(corpus, tmp_path, how, base, *more))
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.returncode != 0 and len(errors) == 1 and reason in errors[0], result.err
    assert "Traceback" not in result.err


def test_options_of_an_argparse_namespace(corpus, trained, tmp_path):
    """Before 2020, fairseq saved options as args, without a cfg."""
    base, _ = trained["stock"]
    torch.serialization.add_safe_globals([Namespace])
    state = torch.load(base, weights_only=True)
    options = dict(vars(state["cfg"]["model"]))
    state["args"], state["cfg"] = Namespace(**{**options, "encoder_attention_heads": 1}), None
    torch.save(state, tmp_path / "old.pt")
    flags = ["--finetune-from-model", tmp_path / "old.pt"]
    result = run(*finetune(corpus, tmp_path / "run", *flags))
    assert "--encoder-attention-heads is 1 there, 2 here" in result.err
