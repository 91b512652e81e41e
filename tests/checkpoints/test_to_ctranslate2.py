"""Models exported to CTranslate2 compute and write the same as in fairseq."""

import json

import ctranslate2
import pytest
import torch
from commands import GENERATION
from conftest import WITHIN, make_batch, make_model, make_task
from launching import run, succeed
from saved import save_floater

from fairseq_floater.checkpoints.export.to_ctranslate2 import export_ctranslate2
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

INPUT = {"position_blocks": "input", "position_injection": "additive"}
PRENORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
OPTIONS = {
    "floater": INPUT,
    "recurrent": {"position_encoder": "rnn", **INPUT},
    "learned": {"position_encoder": "learned", **INPUT},
    "sinusoidal": {"position_encoder": "sinusoidal", "position_blocks": "input"},
    "shifted": {**INPUT, "position_shift": 5},
    "none": {"position_encoder": "none"},
    "rotary": {"position_encoder": "rotary"},
    "rotary halves": {"position_encoder": "rotary", "rotary_layout": "halves"}
    | {"rotary_share": 0.5, "rotary_base": 100.0},
    "relative bias": {"position_encoder": "relative-bias", "relative_buckets": 8}
    | {"relative_max_distance": 12},
    "shaw": {"position_encoder": "shaw", "shaw_max_distance": 3},
    "shaw with values": {"position_encoder": "shaw", "shaw_max_distance": 3, "shaw_values": True},
    "before": {"position_encoder": "rotary", **PRENORM, "layernorm_embedding": True}
    | {"activation_fn": "gelu"},
    "widths": {**INPUT, "decoder_embed_dim": 24},
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A corpus with the words of ``make_task``."""
    data = tmp_path_factory.mktemp("words")
    (data / "bin").mkdir()
    for language in ("de", "en"):
        lines = "".join(f"w{number} 1\n" for number in range(23))
        (data / f"bin/dict.{language}.txt").write_text(lines)
    (data / "corpus.json").write_text(json.dumps({"source": "de", "target": "en"}))
    return data


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_token_is_as_likely(options, words, tmp_path):
    checkpoint = save_floater(tmp_path / "model.pt", **options)
    export_ctranslate2(checkpoint, tmp_path / "folder", words, 40)
    batch = make_batch((5, 30, 3), (31, 4, 6))
    model, targets = make_model(**options), batch["prev_output_tokens"]
    start = torch.full_like(targets[:, :1], 2)
    inputs = torch.cat([start, targets[:, :-1]], dim=1)
    with torch.no_grad():
        logits, _ = model(batch["src_tokens"], batch["src_lengths"], inputs)
    wanted = logits.log_softmax(dim=2).gather(2, targets.unsqueeze(2)).squeeze(2)
    translator = ctranslate2.Translator(str(tmp_path / "folder"), intra_threads=1)
    found = translator.score_batch(
        [as_words(row) for row in batch["src_tokens"]], [as_words(row) for row in targets]
    )
    for scores, row, target in zip(found, wanted, targets):
        length = int(target.ne(1).sum())  # without pads
        assert scores.log_probs == pytest.approx(row[:length].tolist(), abs=2e-5)


def as_words(row):
    """Return the words of a row, without its end, which CTranslate2 adds."""
    return [f"w{number - 4}" for number in row.tolist() if number > 3]


def test_hypotheses_are_the_same(corpus, tmp_path):
    """(fairseq forbids an early end after the softmax, CTranslate2 before it.)"""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/bin").symlink_to(corpus)
    (tmp_path / "data/corpus.json").write_text(json.dumps({"source": "de", "target": "en"}))
    data = ["--data", tmp_path / "data"]
    made = save_floater(tmp_path / "rotary.pt", task=make_task(20), **OPTIONS["rotary"])
    search = ["--path", made, "--beam", 4, "--unnormalized", "--min-len", 0, "--max-len-b", 20]
    generated = succeed("generate", corpus, *GENERATION, *search, "--max-len-a", 0)
    sources = [text.split() for _, text in sorted(generated.lines("S").items())]
    wanted = [text.split() for _, (_, text) in sorted(generated.hypotheses().items())]
    for quantization in ((), ("--quantization", "int8")):
        folder = tmp_path / f"folder{len(quantization)}"
        export = ["floater", "export", made, folder, "--to", "ctranslate2", *data]
        succeed(*export, *quantization)
        translator = ctranslate2.Translator(str(folder), intra_threads=1)
        found = translator.translate_batch(
            sources, beam_size=4, max_decoding_length=20, length_penalty=0.0
        )
        same = sum(f.hypotheses[0] == w for f, w in zip(found, wanted))
        assert len(found) == 12 and same >= (6 if quantization else 12)


REFUSED = {
    "bias": ({}, "has biases of queries, keys and values"),
    "all": ({"position_injection": "additive"}, "has vectors added at all blocks"),
    "alibi": (WITHIN["alibi"], "has alibi as scores within attention, where CTranslate2 has"),
    "fire": (WITHIN["fire"], "has fire as scores within attention"),
    "rotation": ({"position_injection": "rotation"}, "has floater as rotation"),
    "first": ({"position_encoder": "rotary", "position_blocks": "input"}, "has positions in the f"),
    "cross": (
        {"position_encoder": "rotary", "position_attention": "both"},
        "has positions within cross-attention",
    ),
    "kept": (WITHIN["relative bias, input kept"], "has positions at the input and within"),
    "heads": ({"position_encoder": "shaw", "shaw_per_head": True}, "has separate vectors for each"),
    "scaled": (WITHIN["sinusoidal, scaled"], "has --attention-log-scale, which CTranslate2"),
    "linear": ({"position_encoder": "rotary", "activation_fn": "linear"}, "has --activation-fn"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_has_no_place_for(name, words, tmp_path):
    options, reason = REFUSED[name]
    checkpoint = save_floater(tmp_path / "model.pt", **options)
    with pytest.raises(UserError, match=f"{reason}.*: use --to huggingface"):
        export_ctranslate2(checkpoint, tmp_path / "folder", words)
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_is_there(words, tmp_path):
    checkpoint = save_floater(tmp_path / "model.pt", **OPTIONS["rotary"])
    done = run("floater", "export", checkpoint, words, "--to", "ctranslate2", "--data", words)
    assert done.returncode == 1 and "already exists: choose another folder" in done.err
