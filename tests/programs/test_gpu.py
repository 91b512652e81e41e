"""fairseq's programs and ours on a GPU, or on what they take for one (see pretended_gpu.py)."""

import pytest
import torch
from commands import GENERATION, TRAINING
from launching import succeed, together
from places import TESTS

pytest_plugins = ("commands",)

GPU = TESTS / "pretended_gpu.py"

#: flags with separate learning rates, which mixed precision must not lose
RATES = "--dynamics-lr-scale 0.1 --initial-lr-scale 16 --clip-norm 1".split()
LOSS = "--criterion floater_cross_entropy --label-smoothing 0.1".split()


@pytest.fixture(scope="module")
def trainings(corpus, tmp_path_factory):
    """What trainings on the GPU, by flag, and one on the CPU printed, and their checkpoints."""
    folder = tmp_path_factory.mktemp("gpu")
    train = ["train", corpus, *TRAINING, "--arch", "floater_transformer", *RATES]
    train += ["--max-update", 8, *LOSS]
    commands = {"cpu": train} | {
        flag: [GPU, *train, *filter(None, [flag])] for flag in ("", "--fp16", "--bf16", "--amp")
    }
    done = together(
        succeed,
        {flag: [*of, "--save-dir", folder / f"of{flag}"] for flag, of in commands.items()},
    )
    return {flag: (done[flag], folder / f"of{flag}/checkpoint_last.pt") for flag in commands}


def parameters(path):
    return torch.load(path, weights_only=True)["model"]


def test_a_training_is_that_of_the_cpu(trainings):
    """Its losses agree as far as they are printed, and its checkpoint is read without a GPU."""
    (cpu, on_cpu), (gpu, on_gpu) = trainings["cpu"], trainings[""]
    assert "machine: pretended" in gpu.out and "peak memory of the device: 1.50 GiB" in gpu.out
    assert len(gpu.losses()) == 8 and gpu.losses() == pytest.approx(cpu.losses(), abs=2e-3)
    saved = parameters(on_cpu)
    for name, value in parameters(on_gpu).items():
        atol = 1e-3 if ".dynamics." in name else 5e-3  # they move by no more than 8e-3
        torch.testing.assert_close(value, saved[name], atol=atol, rtol=0, msg=name)


@pytest.mark.parametrize("flag", ["--fp16", "--bf16", "--amp"])
def test_half_precision_learns_what_single_does(flag, trainings):
    """It is really used: the float32 weights that fairseq saves have values of half precision.

    With --amp they do not, but they differ from those of single precision.
    """
    done, checkpoint = trainings[flag]
    assert done.losses() == pytest.approx(trainings["cpu"][0].losses(), rel=0.03)
    weights, single = parameters(checkpoint), parameters(trainings["cpu"][1])
    half = {"--fp16": torch.float16, "--bf16": torch.bfloat16}.get(flag)
    for name, value in weights.items():
        if ".dynamics." in name:  # whose rate is a tenth: both move by no more than 8e-3
            torch.testing.assert_close(value.float(), single[name], atol=1.6e-2, rtol=0.01)
        assert half is None or torch.equal(value, value.to(half).to(value.dtype)), name
    name = "decoder.position_encoder.initial"  # its learning rate is 16 times that of the others
    assert not torch.equal(weights[name], single[name])
    assert float(weights[name].norm()) == pytest.approx(float(single[name].norm()), rel=0.05)


def ranked(done):
    """Return the score of each of the five best translations by its text, by sentence number."""
    found = {}
    for line in done.out.splitlines():
        if line.startswith("H-"):
            number, score, text = line.split("\t")
            found.setdefault(number, {})[text] = float(score)
    return found


def test_translations_are_those_of_the_cpu(corpus, trained):
    """Each has the score that it has there; in half precision, ties may come out otherwise."""
    checkpoint, _ = trained["floater"]
    generate = ["generate", corpus, *GENERATION, "--path", checkpoint, "--nbest", 5]
    done = together(
        succeed,
        {"cpu": generate, "gpu": [GPU, *generate], "half": [GPU, *generate, "--fp16"]},
    )
    wanted = ranked(done["cpu"])
    assert len(wanted) == 12
    for name, tolerance in (("gpu", 1e-4), ("half", 0.02)):
        found = ranked(done[name])
        for number, known in wanted.items():
            text, score = next(iter(found[number].items()))
            assert score == pytest.approx(known[text], abs=tolerance)
            assert known[text] > max(known.values()) - tolerance
