"""Training from the command line: continued, in parallel, in half precision, with hydra."""

import math
import re
import shutil
import signal
from argparse import Namespace

import pytest
import torch
from commands import GENERATION, TRAINING
from fairseq.models import ARCH_CONFIG_REGISTRY
from launching import run, start, succeed, together
from omegaconf import OmegaConf
from places import PLUGIN, ROOT, TESTS

from fairseq_floater.models.config import FloaterTransformerConfig, validate_model

pytest_plugins = ("commands",)

STACKS = ("encoder", "decoder")
FLOATER = ["--arch", "floater_transformer"]
DATA_PARALLEL = TESTS / "data_parallel.py"


def parameters(path):
    return torch.load(path, weights_only=True)["model"]


def assert_equal(found, expected, tolerance=0.0):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=0, msg=name)


def test_killed_training_continues_exactly(corpus, tmp_path):
    """SIGKILL comes in the third epoch, with dropout and layer drop.

    By default fairseq forms the batches of all epochs when it starts, and forms other ones when it
    starts in a later epoch. --update-epoch-batch-itr forms those of each epoch from the seed and
    the epoch's number.
    """
    train = [
        *("train", corpus, *TRAINING, *FLOATER, "--update-epoch-batch-itr", "True"),
        *("--dropout", 0.2, "--encoder-layerdrop", 0.2, "--clip-norm", 0.5),
        *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", 12, "--max-update", 30),
        *("--save-interval-updates", 21, "--save-interval", 99, "--validate-interval", 99),
    ]
    with start(*train, "--save-dir", tmp_path / "killed") as process:
        for line in process.stdout:  # to the end, so that the program has ended
            if "Saved checkpoint" in line:
                process.kill()
        assert process.wait() == -signal.SIGKILL
    kept = torch.load(tmp_path / "killed" / "checkpoint_last.pt", weights_only=True)
    assert kept["optimizer_history"][-1]["num_updates"] == 21
    assert kept["extra_state"]["train_iterator"]["iterations_in_epoch"] == 21 % 8

    again = together(
        succeed,
        {name: [*train, "--save-dir", tmp_path / name] for name in ("killed", "uninterrupted")},
    )
    assert len(again["killed"].losses()) == 30 - 21
    assert again["killed"].losses() == again["uninterrupted"].losses()[21:]
    assert_equal(
        parameters(tmp_path / "killed" / "checkpoint_last.pt"),
        parameters(tmp_path / "uninterrupted" / "checkpoint_last.pt"),
    )


def test_a_training_that_measures_bleu_goes_on(corpus, tmp_path):
    """Its checkpoints hold numpy's arrays beside plain data."""
    train = ["train", corpus, *TRAINING, *FLOATER, "--save-dir", tmp_path, "--eval-bleu"]
    train += ["--eval-bleu-args", '{"beam": 2, "max_len_b": 20}']
    train += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    succeed(*train, "--max-epoch", 1)
    again = succeed(*train, "--max-epoch", 2)
    assert len(again.losses()) == 8 and again.out.count("| bleu ") == 1
    best = tmp_path / "checkpoint_best.pt"
    commands = {
        "generate": ["generate", corpus, *GENERATION, "--path", best],
        "inspect": ["floater", "inspect", best],
        "average": ["floater", "average", best, best, "--out", tmp_path / "average.pt"],
    }
    done = together(succeed, commands)
    assert len(done["generate"].hypotheses()) == 12


def test_a_training_starts_from_the_best_of_its_own_folder(corpus, trained, tmp_path):
    """It does not continue what was trained there, but once it has saved, it continues itself."""
    base = tmp_path / "checkpoint_best.pt"
    shutil.copy(trained["stock"][0], base)
    train = ["train", corpus, *TRAINING, *FLOATER, "--save-dir", tmp_path, "--no-epoch-checkpoints"]
    train += ["--finetune-from-model", base, "--max-update"]
    assert len(succeed(*train, 2).losses()) == 2
    (tmp_path / "checkpoint_last.pt").rename(tmp_path / "checkpoint_1_2.pt")  # as after a kill
    assert len(succeed(*train, 3).losses()) == 1


@pytest.fixture(scope="module")
def variants(corpus, tmp_path_factory):
    """Short trainings in uncommon ways: (checkpoint, what was printed) by name."""
    folder = tmp_path_factory.mktemp("variants")
    drop = ["--encoder-layerdrop", 0.3, "--decoder-layerdrop", 0.3]
    options = {
        "layer drop": [*drop, "--checkpoint-activations", "--update-freq", 2],
        "shared embeddings": ["--share-all-embeddings", "--share-dynamics", "all", "--amp"],
        "unequal widths": ["--decoder-embed-dim", 24, "--memory-efficient-fp16"],
        "half precision": ["--fp16", "--initial-lr-scale", 2],
    }
    commands = {
        name: [
            *("train", corpus, *TRAINING, *FLOATER, *more),
            *("--max-update", 24, "--save-dir", folder / name),
        ]
        for name, more in options.items()
    }
    results = together(succeed, commands)
    return {name: (folder / name / "checkpoint_last.pt", results[name]) for name in commands}


def are_of(dtype, weights):
    """True if numbers of this precision can hold ``weights``, which fairseq saves as float32."""
    return all(torch.equal(value, value.to(dtype).float()) for value in weights.values())


@pytest.mark.parametrize(
    "name", ["layer drop", "shared embeddings", "unequal widths", "half precision"]
)
def test_variants_learn(variants, name):
    checkpoint, result = variants[name]
    losses = result.losses()
    assert len(losses) == 24 and all(map(math.isfinite, losses))
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])
    assert all(torch.isfinite(value).all() for value in parameters(checkpoint).values())


def test_variants_are_what_they_say(variants):
    weights = {name: parameters(checkpoint) for name, (checkpoint, _) in variants.items()}
    shared = weights["shared embeddings"]
    for other in ("decoder.embed_tokens", "decoder.output_projection"):
        assert torch.equal(shared["encoder.embed_tokens.weight"], shared[f"{other}.weight"])
    dynamics = "position_encoder.dynamics.skew"
    assert torch.equal(*(shared[f"{stack}.{dynamics}"] for stack in STACKS))
    unequal = weights["unequal widths"]
    assert unequal["encoder.position_encoder.initial"].shape == (2 * 3, 16)
    assert unequal["decoder.position_encoder.initial"].shape == (2 * 6, 24)
    for name, values in weights.items():
        in_half = name in ("unequal widths", "half precision")
        assert are_of(torch.float16, values) == in_half
    assert "loss_scale" in variants["shared embeddings"][1].out


#: Without noise, and with an optimizer that does not blow up rounding errors of zero gradients.
PLAIN = ["--dropout", 0, "--optimizer", "sgd", "--lr", 0.5, "--update-epoch-batch-itr", "True"]


def data_parallel(corpus, folder, rank, backend):
    """Return the command of one of two processes, which meet at a file in ``folder``."""
    return [
        *(DATA_PARALLEL, corpus, *TRAINING, *FLOATER, *PLAIN, "--save-dir", folder),
        *("--ddp-backend", backend, "--distributed-world-size", 2, "--distributed-rank", rank),
        *("--distributed-backend", "gloo", "--distributed-no-spawn"),
        *("--distributed-init-method", f"file://{folder / 'meeting'}"),
    ]


@pytest.fixture(scope="module")
def single(corpus, tmp_path_factory):
    """Parameters after 8 updates of two batches each, in a single process."""
    folder = tmp_path_factory.mktemp("single")
    options = [*TRAINING, *FLOATER, *PLAIN, "--update-freq", 2, "--max-update", 8]
    succeed(DATA_PARALLEL, corpus, *options, "--save-dir", folder)
    return torch.load(folder / "parameters0.pt", weights_only=True)


@pytest.mark.parametrize("backend, stops", [("legacy_ddp", [6, 8]), ("pytorch_ddp", [8])])
def test_two_processes_equal_one(corpus, single, tmp_path, backend, stops):
    """The batches are the same, one per process, also when continued within the second epoch."""
    for updates in stops:
        commands = {
            rank: [*data_parallel(corpus, tmp_path, rank, backend), "--max-update", updates]
            for rank in (0, 1)
        }
        result = together(succeed, commands)[0]
        (tmp_path / "meeting").unlink(missing_ok=True)
    assert ("Loaded checkpoint" in result.out + result.err) == (len(stops) == 2)
    first, second = (
        torch.load(tmp_path / f"parameters{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert_equal(first, second)
    assert_equal(first, single, tolerance=1e-5)


@pytest.mark.parametrize("more", [[], ["--find-unused-parameters"]], ids=["plain", "unused"])
def test_two_processes_while_the_dynamics_rest(corpus, tmp_path, more):
    """torch waits for all gradients unless told that some may not come; see test_errors.py."""
    flags = ["--dynamics-update-interval", 2, "--max-update", 3, *more]
    commands = {
        rank: [*data_parallel(corpus, tmp_path, rank, "pytorch_ddp"), *flags] for rank in (0, 1)
    }
    for result in together(run, commands).values():
        assert (result.returncode == 0) == bool(more), result.err
        assert more or "Expected to have finished reduction in the prior" in result.err


def test_two_processes_refuse_what_does_not_fit(corpus, trained, tmp_path):
    """The process that reads the checkpoint refuses it, and so does the one that receives it."""
    base = ["--finetune-from-model", trained["stock"][0], "--encoder-attention-heads", 4]
    commands = {
        rank: [*data_parallel(corpus, tmp_path, rank, "legacy_ddp"), *base, "--max-update", 1]
        for rank in (0, 1)
    }
    for result in together(run, commands).values():
        assert result.returncode != 0
        assert "--encoder-attention-heads is 2 there, 4 here" in result.err


CONFIG = ["--config-dir", ROOT / "recipes" / "hydra", "--config-name", "tiny"]


def hydra(corpus, folder, *overrides):
    """Return the command of the configuration's comments, with smaller sizes."""
    sizes = [f"{stack}_{size}_dim" for stack in STACKS for size in ("embed", "ffn_embed")]
    return [
        *("hydra-train", *CONFIG, f"task.data={corpus}", f"common.user_dir={PLUGIN}"),
        *(f"model.{size}=16" for size in sizes),
        *("common.cpu=true", "common.log_interval=1", "dataset.num_workers=0"),
        *("optimization.max_update=12", "lr_scheduler.warmup_updates=4", f"hydra.run.dir={folder}"),
        # An epoch is one update here, and nothing before the last one is looked at.
        *("checkpoint.save_interval=12", "dataset.validate_interval=12"),
        *overrides,
    ]


def test_hydra_trains(corpus, tmp_path):
    """Also in bfloat16. One of the trainings runs on the bare server."""
    commands = {
        "bfloat16": hydra(corpus, tmp_path / "bfloat16", "common.bf16=true"),
        "bad": hydra(corpus, tmp_path / "bad", "model.position_delta=0"),
    }
    results = together(run, commands)
    results["single"] = run(*hydra(corpus, tmp_path / "single"), bare=True)
    assert results["bad"].returncode == 1
    assert "--position-delta must be between 1e-6 and 1e6, got 0.0" in results["bad"].err
    assert "Traceback" not in results["bad"].err
    for name in ("single", "bfloat16"):
        assert results[name].returncode == 0, results[name].err
        losses = results[name].losses()
        assert len(losses) == 12 and losses[-1] < losses[0] and math.isfinite(losses[-1])
        (checkpoint,) = tmp_path.glob(f"{name}/**/checkpoint_last.pt")
        values = parameters(checkpoint)
        assert values["decoder.position_encoder.initial"].shape == (4 * 6, 16)
        assert are_of(torch.bfloat16, values) == (name == "bfloat16")


def test_hydra_configuration_is_the_tiny_architecture():
    """This also holds where hydra's defaults differ from those of the command line."""
    given = OmegaConf.load(ROOT / "recipes" / "hydra" / "tiny.yaml").model
    args = Namespace(dynamics_lr_scale=0.1)  # goes with the learning rate, not with the sizes
    ARCH_CONFIG_REGISTRY["floater_transformer_tiny"](args)
    whole = OmegaConf.create({"model": OmegaConf.merge(FloaterTransformerConfig, given)})
    assert FloaterTransformerConfig.of(whole.model) == FloaterTransformerConfig.of(args)


def test_hydra_overrides_on_the_page_are_accepted():
    page = (ROOT / "docs" / "faq.md").read_text()
    examples = re.findall(r"`(\+?model\.[^`]+)`", page)
    assert len(examples) == 3
    given = OmegaConf.load(ROOT / "recipes" / "hydra" / "tiny.yaml")
    for example in examples:
        for override in example.split():
            name = override.strip("+").partition("=")[0].removeprefix("model.")
            assert (name in given.model) != override.startswith("+")
        overrides = OmegaConf.from_dotlist(example.replace("+", "").split())
        model = OmegaConf.merge(given, overrides).model
        whole = OmegaConf.create({"model": OmegaConf.merge(FloaterTransformerConfig, model)})
        validate_model(FloaterTransformerConfig.of(whole.model))
