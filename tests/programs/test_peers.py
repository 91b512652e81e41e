"""Positions within attention with fairseq's own commands: training, warm start, translation."""

import pytest
from commands import GENERATION, TRAINING
from launching import run, succeed

pytest_plugins = ["commands"]


def train(corpus, folder, *flags, updates=8):
    arguments = ["--arch", "floater_transformer", *flags, "--max-update", updates]
    return succeed("train", corpus, *TRAINING, *arguments, "--save-dir", folder)


def test_a_trained_peer_goes_on_with_floater(corpus, tmp_path):
    """Its loss continues from where it was; an ensemble of the two translates every sentence."""
    peer = ["--position-encoder", "shaw", "--shaw-max-distance", 3]
    first = train(corpus, tmp_path / "peer", *peer, updates=40)
    more = ["--base-positions", "shaw", "--shaw-max-distance", 3, "--position-attention", "cross"]
    base = tmp_path / "peer" / "checkpoint_last.pt"
    on = train(corpus, tmp_path / "on", *more, "--finetune-from-model", base, updates=2)
    assert on.losses()[0] < first.losses()[0] - 0.5
    assert on.losses()[0] < first.losses()[-1] + 0.5
    both = f"{base}:{tmp_path / 'on' / 'checkpoint_last.pt'}"
    translated = succeed("generate", corpus, *GENERATION, "--path", both, "--prefix-size", 2)
    assert len(translated.hypotheses()) == 12


def test_input_far_beyond_the_training_length(corpus, tmp_path):
    """1,100 words, validated and translated by a model trained on nine."""
    train(corpus, tmp_path, "--base-positions", "rotary", "--position-shift", 20)
    model = ["--path", tmp_path / "checkpoint_last.pt", "--max-tokens", 4000]
    far = ["--gen-subset", "test1", "--max-len-b", 20]
    translated = succeed("generate", corpus, *GENERATION, *model, *far)
    assert len(translated.hypotheses()) == 1


@pytest.mark.parametrize(
    "flags, error",
    [
        (
            ["--position-encoder", "alibi", "--position-injection", "bias"],
            "--position-encoder alibi has no learned biases for --position-injection bias",
        ),
        (["--base-positions", "rope"], "argument --base-positions: invalid choice: 'rope'"),
        (["--position-encoder", "rotary", "--freeze-position-encoder"], "needs a learned position"),
    ],
)
def test_mistakes_are_one_line(flags, error, corpus, tmp_path):
    arch = ["--arch", "floater_transformer", "--max-update", 1, "--save-dir", tmp_path]
    result = run("train", corpus, *TRAINING, *arch, *flags)
    assert result.returncode != 0 and error in result.last_error_line
