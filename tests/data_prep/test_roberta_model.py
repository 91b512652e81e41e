"""A published RoBERTa: its dictionary, its tokenizer, and the same features."""

import json
import tarfile
from argparse import Namespace

import pytest
import torch
from corpora import run
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import Encoder
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from launching import bash
from places import ROOT
from pretrained import LINES, byte_level

from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.data import PieceTokenizer

SIZES = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 24,
}


def gpt2():
    """Return the numbers of pieces, and the rules that join pieces, as in GPT-2's two files."""
    model = json.loads(byte_level().to_str())["model"]
    pieces = {p: n for p, n in model["vocab"].items() if not p.startswith("<")}
    return pieces, [tuple(rule) for rule in model["merges"]]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What fairseq publishes: an archive of a small model in the old layout, and GPT-2's files."""
    folder = tmp_path_factory.mktemp("published")
    pieces, rules = gpt2()
    numbers = sorted(pieces.values(), key=lambda n: (7 * n) % 301)  # as if by frequency
    place = folder / "roberta.base"
    place.mkdir()
    words = [*map(str, numbers), "madeupword0000"]
    (place / "dict.txt").write_text("".join(f"{w} {len(words) - n}\n" for n, w in enumerate(words)))
    dictionary = Dictionary.load(str(place / "dict.txt"))
    dictionary.add_symbol("<mask>")
    args = Namespace(arch="roberta", task="masked_lm", tokens_per_sample=24, **SIZES)
    ARCH_CONFIG_REGISTRY["roberta"](args)
    torch.manual_seed(0)
    task = Namespace(source_dictionary=dictionary, args=args)
    model = ARCH_MODEL_REGISTRY["roberta"].build_model(args, task).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    old = {f"decoder.{name.split('.', 1)[1]}": w for name, w in model.state_dict().items()}
    history = [
        {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    ]
    state = {"args": args, "model": old, "optimizer_history": history, "extra_state": {}}
    torch.save({**state, "last_optimizer_state": None}, place / "model.pt")
    files = folder / "mirror/dl.fbaipublicfiles.com/fairseq"
    for part in ("models", "gpt2_bpe"):
        (files / part).mkdir(parents=True)
    with tarfile.open(files / "models/roberta.base.tar.gz", "w:gz") as tar:
        tar.add(place, "roberta.base")
    (files / "gpt2_bpe/encoder.json").write_text(json.dumps(pieces))
    lines = ["#version: 0.2", *(" ".join(rule) for rule in rules)]
    (files / "gpt2_bpe/vocab.bpe").write_text("\n".join(lines) + "\n")
    return folder, dictionary, model


def prepare(published, out):
    folder, *_ = published
    script = ROOT / "data-prep/roberta.sh"
    return bash(script, "--out", out, variables={"DATA_MIRROR": folder / "mirror"})


@pytest.fixture(scope="module")
def prepared(published, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "roberta.base"
    done = prepare(published, out)
    assert done.returncode == 0, done.stderr
    return out / "base"


@pytest.mark.parametrize("text", [*LINES, "A fox's  1,000 dogs\u2026 caf\u00e9", " x "])
def test_pieces_are_those_of_fairseqs_own_bpe(text, published, prepared):
    """Their numbers in the model equal those from fairseq's GPT-2 encoder and dictionary."""
    _, theirs, _ = published
    pieces, rules = gpt2()
    wanted = [theirs.index(str(number)) for number in Encoder(pieces, rules).encode(text)]
    ours = Dictionary.load(str(prepared / "dict.txt"))
    found = PieceTokenizer(prepared / "tokenizer.json").pieces(text)
    assert [ours.index(piece.name) for piece in found] == wanted
    assert theirs.unk() not in wanted and len(ours) == len(theirs) - 1  # without the mask


def test_features_are_those_of_the_published_model(published, prepared):
    _, dictionary, theirs = published
    _, _, ours = load_model(prepared / "model.pt")
    tokens = torch.randint(4, len(dictionary), (3, 20), generator=torch.Generator().manual_seed(1))
    tokens[1, 15:] = dictionary.pad()
    with torch.no_grad():
        found, wanted = (model(tokens, features_only=True)[0] for model in (ours, theirs))
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5)
        found, wanted = (model(tokens)[0] for model in (ours, theirs))
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("dict.txt", "the 3\n", "dict.txt, line 1: 'the' is not a GPT-2 piece"),
        ("encoder.json", "[]", "encoder.json is not GPT-2's"),
        ("vocab.bpe", "a b c\n", "vocab.bpe has the line 'a b c'"),
    ],
)
def test_files_that_are_not_gpt2s(name, content, message, published, tmp_path):
    folder, *_ = published
    for path in (folder / "roberta.base/dict.txt", *(folder / "mirror").rglob("gpt2_bpe/*")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text(content)
    files = [tmp_path / file for file in ("dict.txt", "encoder.json", "vocab.bpe")]
    done = run("roberta.py", *files, "--out", tmp_path / "out")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
