"""RoBERTa on the command line: masked words, fine-tuning, and the tools on what was trained."""

import importlib
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from commands import COMMON
from fairseq.models.roberta import RobertaModel
from launching import run, succeed
from places import ROOT

from fairseq_floater.checkpoints.convert import convert
from fairseq_floater.models.floater_roberta import FloaterRobertaModel

SHAPE = "--encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32".split()
TRAIN = [
    *COMMON,
    *SHAPE,
    *"--encoder-attention-heads 2 --optimizer adam --lr 0.001 --batch-size 8".split(),
    *"--no-epoch-checkpoints --log-interval 1 --required-batch-size-multiple 1".split(),
]


def text(folder, lines):
    """Preprocess ``lines`` into a data folder of fairseq for masked LM, and return it."""
    folder.mkdir()
    for split in ("train", "valid"):
        (folder / split).write_text("".join(f"{line}\n" for line in lines))
    data = folder / "bin"
    succeed(
        *("preprocess", "--only-source", "--destdir", data),
        *("--trainpref", folder / "train", "--validpref", folder / "valid"),
    )
    return data


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Data of 40 lines, and fairseq's own RoBERTa trained on it for four updates."""
    folder = tmp_path_factory.mktemp("masked")
    generator = torch.Generator().manual_seed(0)
    lines = [
        " ".join(f"w{n}" for n in torch.randint(0, 10, (8,), generator=generator).tolist())
        for _ in range(40)
    ]
    data, saved = text(folder / "text", lines), folder / "stock"
    stock = [part for part in TRAIN if part not in COMMON[:2]]  # without the plugin
    lm = ["--task", "masked_lm", "--criterion", "masked_lm", "--tokens-per-sample", 24]
    command = ["train", data, *stock, *lm, "--arch", "roberta"]
    succeed(*command, "--max-update", 4, "--save-dir", saved)
    return data, lm, saved / "checkpoint_last.pt"


def test_masked_lm_goes_on_from_fairseqs_own(masked, tmp_path):
    """Positions alone are trained on the command line; then the hub interface reads the model."""
    data, lm, stock = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta"]  # as long as its samples
    done = succeed(
        *(*command, "--finetune-from-model", stock, "--freeze-base", "--max-update", 4),
        *("--save-dir", tmp_path),
    )
    assert len(done.losses()) == 4
    before = torch.load(stock, weights_only=True)["model"]
    after = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["model"]
    changed = [name for name in before if name in after and not before[name].equal(after[name])]
    assert changed == [] and after["encoder.sentence_encoder.position_encoder.initial"].any()
    described = succeed("floater", "inspect", tmp_path / "checkpoint_last.pt", "--length", 24).out
    assert "encoder tracks" in described and "solver's relative error" in described
    last, other = tmp_path / "checkpoint_last.pt", tmp_path / "other.pt"
    refused = run("floater", "export", last, other, "--to", "torch")
    assert refused.returncode == 1 and "this is for a transformer" in refused.last_error_line
    succeed("floater", "convert", stock, other)
    kept = torch.load(other, weights_only=True)["model"]
    assert all(weight.equal(kept[name]) for name, weight in before.items() if name in kept)
    assert not kept["encoder.sentence_encoder.position_encoder.initial"].any()
    assert "of the encoder" in succeed("floater", "bake", last, "--out", other).out
    assert "positions baked in" in succeed("floater", "inspect", other, "--length", 24).out
    succeed("floater", "average", last, other, "--out", tmp_path / "mean.pt")
    mean = torch.load(tmp_path / "mean.pt", weights_only=True)["model"]
    assert all(torch.allclose(mean[name], weight) for name, weight in after.items())
    hub = FloaterRobertaModel.from_pretrained(
        str(tmp_path), "checkpoint_last.pt", str(data), bpe="characters"
    )
    row = torch.tensor([[0, 5, 6, 7, 2]])
    assert hub.extract_features(row).shape == (1, 5, 16)
    assert isinstance(hub.model, FloaterRobertaModel) and isinstance(hub.model, RobertaModel)


def test_a_pruned_model_is_read_as_fairseqs_own_is(masked, tmp_path):
    """Checkpoints hold the blocks to keep as text, which fairseq reads as a list."""
    data, lm, stock = masked
    found = []
    for arch in ("roberta", "floater_roberta"):
        command = ["train", data, *TRAIN, *lm, "--arch", arch, "--encoder-layers-to-keep", "1"]
        saved = tmp_path / arch
        succeed(*command, "--finetune-from-model", stock, "--max-update", 1, "--save-dir", saved)
        path = ["--path", saved / "checkpoint_last.pt", "--batch-size", 8]
        done = succeed("validate", data, *COMMON[:2], "--task", "masked_lm", *path)
        found += done.losses("valid")
        assert found[-1] > 0
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_masked_lm_on_single_sentences(masked, tmp_path):
    """fairseq's blocks of one sentence each ask for a name that numpy 2 does not have."""
    data, lm, _ = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta", "--max-update", 2]
    done = succeed(*command, "--sample-break-mode", "eos", "--save-dir", tmp_path)
    assert len(done.losses()) == 2


def test_losses_by_the_length_of_blocks(masked, monkeypatch, capsys):
    """In blocks of the model's own length, a separate pass gives the last loss of the training."""
    data, _, stock = masked
    monkeypatch.syspath_prepend(str(ROOT / "recipes/benchmarks"))
    program = importlib.import_module("block_lengths")

    def forked(command, **_):
        done = run(Path(command[0]).name.removeprefix("fairseq-"), *command[1:])
        return Namespace(returncode=done.returncode, stdout=done.out, stderr=done.err)

    monkeypatch.setattr(program.subprocess, "run", forked)
    arguments = [data, f"stock={stock}", "--limit", 24, "--lengths"]
    monkeypatch.setattr(sys, "argv", ["block_lengths", *map(str, [*arguments, 12, 24])])
    program.main()
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| stock")]
    known = torch.load(stock, weights_only=True)["extra_state"]["val_loss"]
    shorter, whole = (float(cell) for cell in row.split("|")[2:4])
    assert whole == pytest.approx(known, abs=0.005) and shorter != whole
    monkeypatch.setattr(
        sys, "argv", ["block_lengths", str(data), f"stock={stock}", "--lengths", "4"]
    )
    with pytest.raises(SystemExit, match="in blocks of 4: "):
        program.main()


def test_trained_heads_are_converted_too(masked, tmp_path, caplog):
    state = torch.load(masked[2], weights_only=True)
    heads = {"dense.weight": torch.randn(16, 16), "out_proj.weight": torch.randn(2, 16)}
    heads = {f"classification_heads.rte.{name}": weight for name, weight in heads.items()}
    state["model"] |= heads
    torch.save(state, tmp_path / "base.pt")
    convert(tmp_path / "base.pt", tmp_path / "out.pt", {})
    converted = torch.load(tmp_path / "out.pt", weights_only=True)["model"]
    assert all(weight.equal(converted[name]) for name, weight in heads.items())
    assert "deleting" not in caplog.text  # fairseq would have left them out


def test_a_longer_table_than_that_of_the_base_model_needs_a_flag(masked, tmp_path):
    data, lm, checkpoint = masked
    command = ["train", data, *TRAIN, *lm, "--arch", "floater_roberta", "--max-positions", 30]
    command += ["--finetune-from-model", checkpoint, "--save-dir", tmp_path, "--max-update", 1]
    done = run(*command)
    assert (
        done.returncode == 1 and "--extend-base-positions continues where" in done.last_error_line
    )
    assert "is 1 x 24 x 16 there, 1 x 30 x 16 here" in done.last_error_line
    succeed(*command, "--extend-base-positions")


@pytest.fixture(scope="module")
def topics(masked, tmp_path_factory):
    """Sentences in the words of ``masked``, labelled by whether they begin with a small number."""
    folder = tmp_path_factory.mktemp("topics")
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 10, (40, 6), generator=generator).tolist()
    lines = {
        "input0": [" ".join(f"w{n}" for n in row) for row in rows],
        "label": ["small" if row[0] < 5 else "large" for row in rows],
    }
    for name, texts in lines.items():
        for split in ("train", "valid"):
            (folder / f"{split}.{name}").write_text("".join(f"{line}\n" for line in texts))
        words = ["--srcdict", masked[0] / "dict.txt"] if name == "input0" else []
        succeed(
            *("preprocess", "--only-source", "--destdir", folder / "bin" / name, *words),
            *("--trainpref", folder / f"train.{name}", "--validpref", folder / f"valid.{name}"),
        )
    return folder / "bin"


def test_a_head_that_a_task_gives_is_trained_alone(masked, topics, tmp_path):
    """The head for masked words, which exists already, is not trained."""
    task = "--task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token"
    command = ["train", topics, *TRAIN, *task.split(), 0, "--separator-token", 2]
    command += ["--arch", "floater_roberta", "--max-positions", 24, "--max-update", 2]
    command += ["--finetune-from-model", masked[2], "--save-dir", tmp_path, "--train-only"]
    succeed(*command, "classification_heads")
    before, after = (
        torch.load(path, weights_only=True)["model"]
        for path in (masked[2], tmp_path / "checkpoint_last.pt")
    )
    shared = [name for name in before if name in after and name.endswith(("weight", "bias"))]
    assert len(shared) > 20 and all(torch.equal(before[name], after[name]) for name in shared)
    done = run(*command, "heads_of_nothing")
    assert "--train-only heads_of_nothing matches no parameter" in done.last_error_line


@pytest.mark.parametrize("positions", [[], ["--position-encoder", "rotary"]], ids=str)
def test_fine_tuning(positions, masked, topics, tmp_path):
    """All of a stock model and a new head are trained until they find the position that decides."""
    task = "--task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token"
    command = ["train", topics, *TRAIN, *task.split(), 0, "--separator-token", 2]
    command += ["--arch", "floater_roberta", "--max-positions", 24, *positions]
    command[command.index("--lr") + 1] = 0.01
    done = succeed(
        *(*command, "--finetune-from-model", masked[2], "--max-epoch", 12, "--seed", 3),
        *("--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"),
        *("--save-dir", tmp_path),
    )
    losses = done.losses("valid")
    assert losses[-1] < 0.6 * losses[0]
    hub = FloaterRobertaModel.from_pretrained(
        str(tmp_path), "checkpoint_best.pt", str(topics), bpe="characters"
    )
    hub.eval()
    source = hub.task.source_dictionary
    labels = hub.task.label_dictionary
    right = 0
    for line, wanted in zip(
        (topics.parent / "valid.input0").read_text().splitlines(),
        (topics.parent / "valid.label").read_text().split(),
    ):
        row = source.encode_line(f"<s> {line}", add_if_not_exist=False).long()
        found = int(hub.predict("sentence_classification_head", row).argmax())
        right += labels.symbols[found + labels.nspecial] == wanted
    assert right >= 30
