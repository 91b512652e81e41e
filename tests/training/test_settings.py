"""Settings that cannot work are refused before anything is read."""

from types import SimpleNamespace

import pytest
from conftest import make_model, make_stock

from fairseq_floater import errors
from fairseq_floater.errors import UserError
from fairseq_floater.training.settings import (
    bf16_without_tpu,
    check_settings,
    checking_settings,
)


def settings(**changed):
    values = {
        "bf16": False,
        "cpu": True,
        "ddp_backend": "pytorch_ddp",
        "max_tokens": 9,
        "batch_size": None,
        "update_freq": [1],
        "validate_interval": 1,
        "save_interval": 1,
        "log_interval": 100,
        "zero_sharding": "none",
        "memory_efficient_bf16": False,
        "memory_efficient_fp16": False,
        "fp16": False,
        "fp16_no_flatten_grads": False,
        "checkpoint_activations": False,
    }
    everything = SimpleNamespace(**{**values, **changed})
    parts = ("checkpoint", "common", "dataset", "distributed_training", "model", "optimization")
    return SimpleNamespace(**dict.fromkeys(parts, everything))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"ddp_backend": "fully_sharded"}, "fully_sharded and slowmo are not supported"),
        ({"ddp_backend": "slowmo"}, "use pytorch_ddp or legacy_ddp"),
        ({"max_tokens": -3}, "--max-tokens must be >= 1, got -3"),
        ({"batch_size": 0}, "--batch-size must be >= 1, got 0"),
        ({"save_interval": 0}, "--save-interval must be >= 1, got 0"),
        ({"validate_interval": 0}, "--validate-interval must be >= 1, got 0"),
        ({"log_interval": 0}, "--log-interval must be >= 1, got 0"),
        ({"update_freq": [2, 0]}, "--update-freq must be >= 1, got 2,0"),
    ],
)
def test_refused(changed, message):
    built = []
    build = checking_settings(lambda *arguments: built.append(arguments))
    with pytest.raises(UserError, match=message):
        build("trainer", settings(**changed), "task", make_model())
    assert not built
    build("trainer", settings(), "task", make_model())
    assert len(built) == 1


@pytest.mark.parametrize("xla, tpu", [(None, False), ("torch_xla", True)])
def test_bf16_is_for_a_tpu_where_there_can_be_one(xla, tpu, monkeypatch):
    monkeypatch.setattr("fairseq.utils.xm", xla)
    options = SimpleNamespace(bf16=True, tpu=True)
    assert bf16_without_tpu(lambda: options)().tpu == tpu
    options.tpu = True
    assert bf16_without_tpu(lambda: (options, []))()[0].tpu == tpu
    assert not vars(bf16_without_tpu(SimpleNamespace)())  # as fairseq-validate parses overrides


def test_a_tpu_needs_its_package(monkeypatch):
    monkeypatch.setattr("fairseq.utils.xm", None)
    with pytest.raises(UserError, match="--tpu needs PyTorch/XLA"):
        bf16_without_tpu(lambda: SimpleNamespace(bf16=False, tpu=True))()


@pytest.mark.parametrize(
    "changed, options, message",
    [
        ({"zero_sharding": "os"}, {"dynamics_lr_scale": 0.1}, "--zero-sharding, which steps twice"),
        (
            {"memory_efficient_bf16": True},
            {"initial_lr_scale": 16.0},
            "--memory-efficient-bf16, which rounds small steps off: leave it out",
        ),
        (
            {"memory_efficient_fp16": True},
            {"dynamics_lr_scale": 0.1},
            "--memory-efficient-fp16, which rounds small steps off: leave it out",
        ),
        (
            {"checkpoint_activations": True},
            {"train_only": "layers"},
            "--train-only layers cannot be combined with --checkpoint-activations",
        ),
        (
            {"offload_activations": True},  # with hydra, fairseq does not set the other one
            {"train_only": "layers"},
            "--train-only layers cannot be combined with --offload-activations",
        ),
    ],
)
def test_refused_with_levers(changed, options, message):
    build = checking_settings(lambda *arguments: None)
    build("trainer", settings(**changed), "task", make_model())
    with pytest.raises(UserError, match=message):
        build("trainer", settings(**changed), "task", make_model(**options))


def test_parameters_with_steps_of_their_own_are_no_flat_row_in_half_precision():
    build = checking_settings(lambda *arguments: None)
    for levers in ({}, {"initial_lr_scale": 16.0}, {"position_encoder_update_interval": 4}):
        for half in (False, True):
            cfg = settings(fp16=half)
            build("trainer", cfg, "task", make_model(**levers))
            assert cfg.common.fp16_no_flatten_grads == (half and bool(levers))


def test_what_is_frozen_takes_no_step_of_its_own():
    build = checking_settings(lambda *arguments: None)
    frozen = {"dynamics_lr_scale": 0.1, "freeze_position_encoder": True}
    cfg = settings(fp16=True)
    build("trainer", cfg, "task", make_model(**frozen))
    assert not cfg.common.fp16_no_flatten_grads
    build("trainer", settings(fp16=True, memory_efficient_fp16=True), "task", make_model(**frozen))


def test_blocks_without_positions_are_not_sharded_either():
    with pytest.raises(UserError, match="fully_sharded and slowmo are not supported"):
        check_settings(settings(ddp_backend="fully_sharded"), make_model(position_encoder="none"))


def test_models_without_our_positions_keep_their_backends():
    check_settings(settings(ddp_backend="slowmo"), make_stock())


@pytest.mark.parametrize(
    "complaint, advice",
    [
        ("Cannot find FullyShardedDataParallel. Please install", "use pytorch_ddp or legacy_ddp"),
        ("Key 'left_pad_source' not in 'FloaterTransformerConfig'", "multi_simple_epoch"),
    ],
)
def test_what_fails_before_our_checks(complaint, advice, monkeypatch, capsys):
    """fairseq does not require fairscale; its multilingual task sets what our models lack."""
    monkeypatch.setattr("sys.argv", ["fairseq-train"])
    monkeypatch.delenv("FLOATER_TRACEBACK", raising=False)
    error = ImportError(complaint)
    errors.showing_one_line(lambda *_: pytest.fail("a traceback"))(ImportError, error, None)
    assert advice in capsys.readouterr().err


def test_no_table_of_a_thousand_million_positions():
    with pytest.raises(UserError, match="--max-target-positions must be at most 1,000,000, got 10"):
        make_model(max_target_positions=10**9)


@pytest.mark.parametrize(
    "option, flag",
    [("encoder_attention_heads", "--encoder-attention-heads must be >= 1, got"),
     ("decoder_embed_dim", "--decoder-embed-dim must be >= 1, got"),
     ("encoder_ffn_embed_dim", "--encoder-ffn-embed-dim must be >= 1, got"),
     ("decoder_layers", "--decoder-layers must be >= 0, got"),
     ("max_target_positions", "--max-target-positions must be >= 1, got")],
)  # fmt: skip
def test_sizes(option, flag):
    for value in (-2, 0):
        if option != "decoder_layers" or value < 0:
            with pytest.raises(UserError, match=f"{flag} {value}"):
                make_model(**{option: value})


def test_no_base_layers():
    with pytest.raises(UserError, match="--base-layers 1 is not supported"):
        make_model(base_layers=1)
