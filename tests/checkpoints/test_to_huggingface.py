"""Models exported to Hugging Face's transformers compute and write the same as in fairseq."""

import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from commands import GENERATION
from conftest import COMBINATIONS, WITHIN, as_options, make_batch, make_model
from fairseq.data import Dictionary
from launching import run, succeed
from saved import save_floater

from fairseq_floater.checkpoints.export import Lengths
from fairseq_floater.checkpoints.export.huggingface.model import build_exported, export_huggingface
from fairseq_floater.checkpoints.export.to_ctranslate2 import export_ctranslate2
from fairseq_floater.commands.export import needing
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

MIDPOINT = {"ode_solver": "midpoint", "ode_steps_per_position": "3", "dynamics_activation": "silu"}
PRENORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
OPTIONS = {
    **{"-".join(map(str, of)): as_options(*of) for of in COMBINATIONS},
    **WITHIN,
    "driven": {"dynamics": "driven"},
    "another solver": {"dynamics": "mlp", "dynamics_damping": 0.1, **MIDPOINT},
    "a step over four": {"dynamics": "mlp", "ode_steps_per_position": "1/4"},
    "halves": {"position_encoder": "rotary", "rotary_layout": "halves", "rotary_share": 0.5},
    "shaw for each head": {"position_encoder": "shaw", "shaw_per_head": True},
    "two cells": {"position_encoder": "rnn", "rnn_layers": 2, "rnn_input": "vector"},
    "driven scores": {"position_injection": "scores", "dynamics": "driven"},
    "linear angles": {"position_injection": "rotation", "dynamics": "linear"},
    "symmetric, scaled": {"position_encoder": "alibi", "alibi_form": "symmetric"}
    | {"attention_log_scale": 5.0},
    "odd width": {"dynamics": "driven", "position_injection": "rotation"}
    | {"position_state_dim": 7},
    "in the first block": {"position_encoder": "shaw", "position_blocks": "input"},
    "before": {**PRENORM, "layernorm_embedding": True, "activation_fn": "gelu"},
}


def arguments(batch):
    """Return a batch of fairseq's as the arguments that transformers takes."""
    source, target = batch["src_tokens"], batch["prev_output_tokens"]
    return {
        "input_ids": source,
        "attention_mask": source.ne(1).long(),
        "decoder_input_ids": target,
        "decoder_attention_mask": target.ne(1).long(),
    }


@pytest.fixture(scope="module", params=OPTIONS.values(), ids=OPTIONS)
def both(request):
    """A model and its export, with tables of 6 and 7 positions if they can be continued."""
    model = make_model(**request.param)
    return model, build_exported(model, Lengths(6, 7))


def test_logits_are_the_same_beyond_the_stored_tables_too(both):
    model, exported = both
    for left in (True, False):
        batch = make_batch((5, 36, 3), (7, 34, 6), left_pad=left)
        given = arguments(batch)
        with torch.no_grad():
            wanted, found = model(**batch)[0], exported(**given).logits
        tokens = given["decoder_attention_mask"].bool()
        assert (wanted - found)[tokens].abs().max() < 1e-5


def test_a_step_at_a_time_is_the_whole_target(both):
    _, exported = both
    given = arguments(make_batch((5, 9, 3), (9, 9, 9)))
    target = given.pop("decoder_input_ids")
    del given["decoder_attention_mask"]
    with torch.no_grad():
        wanted = exported(**given, decoder_input_ids=target).logits
        cache, found = None, []
        for ends in (slice(0, 1), slice(1, 4), *(slice(n, n + 1) for n in range(4, 9))):
            step = exported(**given, decoder_input_ids=target[:, ends], use_cache=True, cache=cache)
            cache = step.cache
            found.append(step.logits)
            if ends.stop == 4:  # as when a search switches to other hypotheses
                order = torch.tensor([2, 2, 0])
                cache.reorder_cache(order)
                given = {name: rows[order] for name, rows in given.items()}
                target, wanted = target[order], wanted[order]
                found = [part[order] for part in found]
    assert (torch.cat(found, dim=1) - wanted).abs().max() < 1e-5


def test_labels_give_the_loss():
    exported = build_exported(make_model(share_all_embeddings=True), Lengths(6, 7))
    given = arguments(make_batch((5, 9), (7, 4)))
    labels = given.pop("decoder_input_ids")
    given.pop("decoder_attention_mask")
    labels = labels.masked_fill(labels == 1, -100)
    out = exported(**given, labels=labels)
    inputs = torch.cat([torch.full((2, 1), 2), labels[:, :-1]], dim=1)
    logits = exported(**given, decoder_input_ids=inputs.masked_fill(inputs == -100, 1)).logits
    nll = -logits.log_softmax(dim=2).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    assert float(out.loss) == pytest.approx(float(nll[labels >= 0].mean()), rel=1e-5)
    out.loss.backward()
    assert exported.decoder.embed_tokens.weight is exported.decoder.output_projection.weight


def test_half_precision_stays_finite():
    """It does even for a trajectory that leaves the range of float16."""
    model = make_model(dynamics="linear")
    with torch.no_grad():
        model.decoder.position_encoder.initial.mul_(2e5)
    exported = build_exported(model, Lengths(6, 7))
    with torch.no_grad():
        for weight in exported.parameters():  # as from_pretrained does, which leaves tables alone
            weight.data = weight.half()
        assert exported(**arguments(make_batch())).logits.isfinite().all()


@pytest.mark.parametrize("name", ["mlp", "driven", "linear", "rotation", "fire"])
def test_autocast_leaves_nothing_behind(name):
    """Tables that grow under autocast serve later calls as well."""
    options = {"position_injection": "rotation"} if name == "rotation" else {"dynamics": name}
    options = {"position_encoder": "fire"} if name == "fire" else options
    given = arguments(make_batch((5, 200, 3), (7, 180, 6)))
    fresh, used = (build_exported(make_model(**options), Lengths(6, 7)) for _ in range(2))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert used(**given).logits.isfinite().all()
        assert torch.equal(used(**given).logits, fresh(**given).logits)
        assert used.to(torch.bfloat16)(**given).logits.isfinite().all()


def test_tables_for_onnx_end_where_learned_ones_do():
    sizes = {"max_source_positions": 40, "max_target_positions": 12}
    exported = build_exported(make_model(position_encoder="learned", **sizes), Lengths(40, 12))
    from fairseq_floater.checkpoints.export.to_onnx import fix_tables  # slow to import

    fix_tables(exported, Lengths(40, 12))
    lengths = [next(iter(s.positions.values())) for s in (exported.encoder, exported.decoder)]
    assert [next(table.buffers()).size(1) for table in lengths] == [40, 12]


def test_a_distance_that_no_table_can_hold():
    model = make_model(position_encoder="relative-bias", relative_max_distance=10**9)
    with pytest.raises(UserError, match="^--relative-max-distance 1000000000 makes a table of"):
        build_exported(model, Lengths(6, 7))


def test_learned_positions_end():
    exported = build_exported(
        make_model(position_encoder="learned", max_source_positions=8, max_target_positions=8),
        Lengths(8, 8),
    )
    with pytest.raises(ValueError, match="^12 positions are needed.*end after 8: give"):
        exported(**arguments(make_batch((12,), (3,))))


#: run in a process of its own, without the plugin: the files in the folder must suffice
USE = """
import json, sys
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder, texts, again = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)


def load(folder, **options):
    found = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True, **options)
    return found.eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=True)


def written(model, tokenizer):
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    found = model.generate(**batch, num_beams=4, max_new_tokens=20)
    return tokenizer.batch_decode(found, skip_special_tokens=True)


model, tokenizer = load(folder)
first = written(model, tokenizer)
model.save_pretrained(again)
tokenizer.save_pretrained(again)
half, _ = load(again, dtype=torch.bfloat16)
long = torch.randint(4, 10, (1, 300))
with torch.no_grad():
    far = half(input_ids=long, decoder_input_ids=long).logits
table = next(iter(half.decoder.positions.buffers()))
print(json.dumps({
    "first": first,
    "again": written(*load(again)),
    "finite": bool(far.isfinite().all()),
    "types": [str(far.dtype), str(table.dtype)],
    "ours": [name for name in sys.modules if name.startswith(("fairseq_floater", "fairseq"))],
}))
"""


@pytest.fixture(scope="module")
def described(corpus, tmp_path_factory):
    """The corpus of the tests with a description like those that data-prep writes."""
    data = tmp_path_factory.mktemp("described")
    (data / "bin").symlink_to(corpus)
    description = {"source": "de", "target": "en", "tokenizer": None, "subword": None}
    (data / "corpus.json").write_text(json.dumps(description))
    return data


def test_the_folder_translates_as_fairseq_does(corpus, trained, described, tmp_path):
    checkpoint = trained["floater"][0]
    folder = tmp_path / "folder"
    command = ["floater", "export", "--to", "huggingface", checkpoint, folder]
    done = succeed(*command, "--data", described, "--positions", 5)
    assert "tables for 5 source and 5 target tokens" in done.out
    search = ["--path", checkpoint, "--beam", 4, "--max-len-a", 0, "--max-len-b", 19]
    generated = succeed("generate", corpus, *GENERATION, *search)
    sources = [text for _, text in sorted(generated.lines("S").items())]
    wanted = [text for _, (_, text) in sorted(generated.hypotheses().items())]
    assert len(sources) == 12
    program = [sys.executable, "-c", USE, str(folder), json.dumps(sources), str(tmp_path / "b")]
    environment = {"PATH": "", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["first"] == found["again"] == wanted
    assert found["finite"] and found["types"] == ["torch.bfloat16", "torch.float32"]
    assert found["ours"] == []


def test_texts_are_cut_up_as_the_corpus_was(tmp_path):
    """They are cut by Moses's rules, in lower case, into subword-nmt's pieces, and joined again."""
    from subword_nmt.learn_bpe import learn_bpe

    from fairseq_floater.checkpoints.export.huggingface.remote.tokenization_floater import (
        FloaterTokenizer,
    )

    lines = ["a man 's best friend , the dog , barks .", "the women are walking their dogs ."] * 3
    with (tmp_path / "merges").open("w", encoding="utf-8") as merges:
        learn_bpe(lines, merges, 20)
    dictionary = Dictionary()
    for piece in sorted({p for line in lines for word in line.split() for p in word}):
        dictionary.add_symbol(piece)
        dictionary.add_symbol(f"{piece}@@")
    (tmp_path / "words").write_text(json.dumps(dictionary.symbols))
    words, model = str(tmp_path / "words"), str(tmp_path / "merges")
    moses = {"subword": "subword_nmt", "steps": ["lowercase", "normalise", "tokenise"]}
    tokenizer = FloaterTokenizer(words, words, model, **moses)
    text = "A man's best friend,  the Dog, barks."
    pieces = tokenizer.tokenize(text)
    joined = " ".join(pieces).replace("@@ ", "")
    assert joined == "a man &apos;s best friend , the dog , barks ."
    assert tokenizer.convert_tokens_to_string(pieces) == "a man's best friend, the dog, barks."
    ids = tokenizer(["a dog", "a"], padding=True)
    assert [row[-1] for row in ids["input_ids"]] == [2, 1]
    assert 2 not in tokenizer("a </s> b")["input_ids"][:-1]
    assert tokenizer.convert_tokens_to_ids("never seen") == 3
    assert pickle.loads(pickle.dumps(tokenizer)).tokenize(text) == pieces
    other = FloaterTokenizer(words, words, steps=["tokenise-aggressive"])
    assert other.tokenize("well-known \u039f\u03a3") == ["well", "@-@", "known", "\u039f\u03a3"]
    pieces = ["\u2581Hello", "\u2581,", "\u2581wor", "ld", "\u2581."]
    both = FloaterTokenizer(words, words, model, subword="sentencepiece", steps=["tokenise"])
    assert both.convert_tokens_to_string(pieces) == "Hello, world."
    lower = FloaterTokenizer(words, words, steps=["remove-non-printing", "lowercase"])
    assert lower.tokenize("A\x07B \u039f\u03a3") == ["a", "b", "\u03bf\u03c3"]


def mistakes():
    found = SimpleNamespace
    return {
        "there": found(folder="there", message="there already exists: choose another folder"),
        "no corpus": found(data="nowhere", message="corpus.json, which says how texts became"),
        "words": found(line="one 1\ntwo 1", message="has 6 words, but the model"),
        "broken": found(corpus="{", message="corpus.json cannot be read"),
        "moses": found(tokenizer="moses", message="steps must be those of Moses"),
        "tokenizer": found(tokenizer="spacy", message="tokenizer must be moses or null, not 'spa"),
        "dictionary": found(line="one", message="dictionary .* cannot be read"),
        "merges": found(subword="sentencepiece", model=b"?", message="cannot be cut up by"),
        "subwords": found(subword="sentencepiece", message="no subwords at"),
    }


@pytest.mark.parametrize("kind", mistakes())
def test_mistakes_are_one_line(kind, trained, described, tmp_path):
    mistake = mistakes()[kind]
    data = tmp_path / "data"
    data.mkdir()
    (data / "bin").symlink_to(described / "bin")
    (tmp_path / "there").mkdir()
    description = {"source": "de", "target": "en"}
    for name in ("subword", "tokenizer"):
        description[name] = getattr(mistake, name, None)
    (data / "corpus.json").write_text(getattr(mistake, "corpus", json.dumps(description)))
    if hasattr(mistake, "model"):
        (data / "bpe.model").write_bytes(mistake.model)
    if hasattr(mistake, "line"):
        (data / "bin").unlink()
        (data / "bin").mkdir()
        for language in ("en", "de"):
            (data / f"bin/dict.{language}.txt").write_text(f"{mistake.line}\n")
    folder = tmp_path / getattr(mistake, "folder", "new")
    with pytest.raises(UserError, match=mistake.message):
        data = tmp_path / getattr(mistake, "data", "data")
        export_huggingface(trained["floater"][0], folder, data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "there"]


REFUSED = {
    "cross": ({"no_cross_attention": True}, "--no-cross-attention does not read the source"),
    "noise": ({"quant_noise_pq": 0.1}, "--quant-noise-pq puts a layer after its words"),
    "joint": ({"cross_self_attention": True}, "--cross-self-attention reads source and target"),
    "none": ({"decoder_layers": 0}, "encoder or decoder has no blocks"),
    "width": ({"decoder_output_dim": 8}, "--decoder-output-dim is not the width of its blocks"),
}


@pytest.mark.parametrize("export", [export_huggingface, export_ctranslate2])
@pytest.mark.parametrize("name", REFUSED)
def test_what_engines_have_no_place_for(name, export, described, tmp_path):
    options, reason = REFUSED[name]
    checkpoint = save_floater(tmp_path / "model.pt", **options)
    with pytest.raises(UserError, match=f"cannot be exported: its .*{reason}.*; use it in fairseq"):
        export(checkpoint, tmp_path / "deep/down/folder", described)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_flags_that_do_not_belong_together(trained, tmp_path):
    command = ["floater", "export", trained["floater"][0], tmp_path / "out", "--to"]
    for flags, message in (
        (["huggingface"], "needs dictionaries: give"),
        (["torch", "--data", tmp_path], "--data is for --to hugg"),
        (["torch", "--quantization", "int8"], "is for --to ctranslate2"),
    ):
        done = run(*command, *flags)
        assert done.returncode == 1 and message in done.err and done.err.count("\n") == 1


def test_without_the_library():
    with pytest.raises(
        UserError, match="exporting needs x .*no_such_library.*floater.huggingface."
    ):
        with needing("x", "huggingface"):
            import no_such_library  # noqa: F401
