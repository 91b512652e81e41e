"""Generation, validation and loading from the command line, and how bad input is reported."""

import math
import os
import re
import subprocess
import sys

import pytest
import torch
from commands import COMMON, GENERATION, LONG, SENTENCES, TRAINING
from launching import run, succeed, together

pytest_plugins = ("commands",)


def generate(corpus, checkpoint, *more):
    return ["generate", corpus, *GENERATION, "--path", checkpoint, *more]


@pytest.fixture(scope="module")
def generated(corpus, trained):
    """Translations of the test set."""
    floater, stock = trained["floater"][0], trained["stock"][0]
    commands = {
        "one by one": generate(corpus, floater, "--batch-size", 1),
        "all at once": generate(corpus, floater, "--batch-size", 64),
        "prefix": generate(corpus, floater, "--prefix-size", 1),
        "stock": generate(corpus, stock),
    }
    return together(succeed, commands)


def test_training_learns(trained):
    _, log = trained["floater"]
    losses, valid = log.losses(), log.losses("valid")
    assert len(losses) == 64 and all(map(math.isfinite, losses + valid))
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert len(valid) == 8 and valid[-1] < valid[0]


def test_batch_size_does_not_change_translations(generated):
    single, batched = (generated[name].hypotheses() for name in ("one by one", "all at once"))
    assert set(single) == set(batched) == set(range(SENTENCES["test"]))
    assert len({text for _, text in single.values()}) > 1
    for number, (score, text) in single.items():
        assert batched[number] == (pytest.approx(score, abs=1e-4), text)


def test_prefix_tokens_begin_every_translation(generated):
    result = generated["prefix"]
    first_words = {number: text.split()[0] for number, text in result.lines("T").items()}
    found = {number: text.split()[0] for number, (_, text) in result.hypotheses().items()}
    assert len(found) == SENTENCES["test"] and found == first_words


def test_checkpoints_of_stock_fairseq_are_read(generated):
    """Their options are an argparse namespace, which torch refuses to load by default."""
    assert set(generated["stock"].hypotheses()) == set(range(SENTENCES["test"]))


def test_validation_and_lengths_beyond_1024(corpus, trained, tmp_path):
    """Long sources and targets pass through every program, with no flag that allows them.

    Except for the training, this is in processes that have imported only torch and fairseq.
    """
    checkpoint = ["--path", trained["floater"][0]]
    words = " ".join(f"a{i % 10}" for i in range(LONG))
    commands = {
        "generate": [
            *("generate", corpus, *GENERATION, *checkpoint, "--gen-subset", "test1"),
            *("--max-len-b", 6),
        ],
        "interactive": [
            *("interactive", corpus, *GENERATION, *checkpoint, "--max-len-b", 6),
            *("--source-lang", "de", "--target-lang", "en"),
        ],
        "validate": [
            *("validate", corpus, *COMMON, *checkpoint, "--task", "translation"),
            *("--valid-subset", "valid,test1", "--batch-size", 8),
        ],
        "train": [
            *("train", corpus, *TRAINING, "--arch", "floater_transformer"),
            *("--train-subset", "test1", "--max-update", 2, "--save-dir", tmp_path),
        ],
    }

    def launch(program, *arguments):
        bare = program != "train"
        return succeed(program, *arguments, input=f"{words}\na1 a2\n", bare=bare)

    results = together(launch, commands)
    for result in results.values():
        assert "will be skipped" not in result.out + result.err
    for name, sentences in (("generate", {0}), ("interactive", {0, 1})):
        assert set(results[name].hypotheses()) == sentences
        assert len(results[name].lines("S")[0].split()) == LONG
    losses = [results["validate"].losses(subset) for subset in ("valid", "test1")]
    assert [len(of_subset) for of_subset in losses] == [1, 1]
    assert len(results["train"].losses()) == 2
    assert all(map(math.isfinite, sum(losses, results["train"].losses())))


def test_checkpoint_is_plain_data(trained):
    """torch alone reads it, without allowing more types than torch allows by default."""
    script = (
        "import sys, torch; state = torch.load(sys.argv[1], weights_only=True); "
        "assert not any(name.startswith(('fairseq', 'omegaconf')) for name in sys.modules); "
        "print(state['cfg']['model']['position_encoder'], len(state['model']))"
    )
    command = [sys.executable, "-c", script, trained["floater"][0]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=os.path.sep)
    assert result.returncode == 0, result.stderr
    encoder, tensors = result.stdout.split()
    assert encoder == "floater" and int(tensors) > 50


class CreatesFolder:
    """Unpickling this runs code, although it is harmless."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def bad(trained, tmp_path_factory):
    """A folder of files that are not checkpoints."""
    folder = tmp_path_factory.mktemp("bad")
    good = trained["floater"][0].read_bytes()
    (folder / "half.pt").write_bytes(good[: len(good) // 2])
    (folder / "sliver.pt").write_bytes(good[: len(good) // 25])
    (folder / "text.pt").write_bytes(b"Not Found\n")
    (folder / "checkpoint_last.pt").write_bytes(good[: len(good) // 2])
    state = torch.load(trained["floater"][0], weights_only=True)
    state["extra_state"]["more"] = CreatesFolder(folder / "created")
    torch.save(state, folder / "code.pt")
    return folder


@pytest.fixture(scope="module")
def uneven(corpus, tmp_path_factory):
    """A data folder whose training set has one source sentence too many; preprocess runs bare."""
    folder = tmp_path_factory.mktemp("uneven")
    for language, words in (("de", "a1 a2\n"), ("en", "b2 b1\n")):
        (folder / f"train.{language}").write_text(words * (8 if language == "de" else 7))
        (folder / f"valid.{language}").write_text(words * 4)
    succeed(
        *"preprocess --source-lang de --target-lang en --workers 1".split(),
        *("--srcdict", corpus / "dict.de.txt", "--joined-dictionary"),
        *("--trainpref", folder / "train", "--validpref", folder / "valid", "--destdir", folder),
        bare=True,
    )
    return folder


@pytest.fixture(scope="module")
def refused(corpus, trained, bad, uneven):
    """Command lines that must fail, with their results."""
    options = [*TRAINING, "--arch", "floater_transformer", "--max-update", 2]
    train = ["train", corpus, *options, "--save-dir", bad / "fresh"]
    learned = ["--path", trained["learned"][0]]
    commands = {
        "unknown encoder": [*train, "--position-encoder", "rope"],
        "no time between positions": [*train, "--position-delta", 0],
        "combination": [*train, "--position-encoder", "rnn", "--encoder-learned-pos"],
        "heads": [*train, "--encoder-attention-heads", 3],
        "uneven corpus": ["train", uneven, *options, "--save-dir", bad / "uneven"],
        "no data": ["train", bad / "nowhere", *options, "--save-dir", bad / "fresh"],
        "half": generate(corpus, bad / "half.pt"),
        "sliver": generate(corpus, bad / "sliver.pt"),
        "text": generate(corpus, bad / "text.pt"),
        "code": generate(corpus, bad / "code.pt"),
        "continued from half": ["train", corpus, *options, "--save-dir", bad],
        "too long": ["generate", corpus, *GENERATION, *learned, "--gen-subset", "test1"],
        "too long, interactive": [
            *("interactive", corpus, *GENERATION, *learned),
            *("--source-lang", "de", "--target-lang", "en"),
        ],
    }
    results = together(lambda *args: run(*args, input="a1 " * 30 + "\n"), commands)
    assert not (bad / "fresh").exists() or not list((bad / "fresh").iterdir())
    return results


@pytest.mark.parametrize(
    "name, message",
    [
        ("no time between positions", "--position-delta must be between 1e-6 and 1e6, got 0.0"),
        ("combination", "--encoder-learned-pos .* --position-encoder rnn"),
        ("half", "checkpoint .*half.pt cannot be read, it is truncated"),
        ("sliver", "checkpoint .*sliver.pt cannot be read, it is truncated"),
        ("text", "checkpoint .*text.pt cannot be read, .* not a fairseq checkpoint"),
        ("code", "checkpoint .*code.pt holds more than plain data .*mkdir"),
        ("continued from half", "checkpoint .*checkpoint_last.pt cannot be read"),
        ("heads", "embed_dim must be divisible by num_heads"),
        ("uneven corpus", "Source and target must contain the same number of examples"),
        ("no data", ".*/nowhere: No such file or directory"),
        ("too long", r"Size of sample #0 .*max_positions=\(20, 20\)"),
        ("too long, interactive", r"Size of sample #0 .*max_positions=\(20, 20\)"),
    ],
)
def test_bad_input_ends_in_one_line(refused, name, message):
    """It is on standard error, without a traceback, and names the thing and the fix."""
    result = refused[name]
    assert result.returncode == 1
    assert "Traceback" not in result.err
    assert re.fullmatch(f"error: {message}.*", result.last_error_line)


def test_code_in_a_checkpoint_does_not_run(refused, bad):
    assert refused["code"].returncode == 1 and not (bad / "created").exists()


def test_unknown_encoder_is_named_after_the_usage(refused):
    """argparse itself refuses it, and prints the usage first."""
    result = refused["unknown encoder"]
    assert result.returncode == 2 and "Traceback" not in result.err
    message = "argument --position-encoder: invalid choice: 'rope' .*floater"
    assert re.search(message, result.last_error_line)
