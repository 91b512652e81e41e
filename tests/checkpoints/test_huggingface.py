"""Converted Hugging Face models compute the same as torch's own Transformer with their weights."""

import json
import re

import pytest
import torch
from commands import COMMON
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from launching import run, succeed
from pretrained import AS_IT_WAS, INNER, KINDS, LAYERS, LINES, POSITIONS, WIDTH, write_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from fairseq_floater import cli
from fairseq_floater.checkpoints.convert import convert, convert_huggingface
from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.checkpoints.huggingface import read_huggingface
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.data import PieceTokenizer, TokenizerJson, TokenizerJsonOptions
from fairseq_floater.errors import UserError


def reference(folder, rows, pads):
    """Return features (batch, length, dim) of torch's own encoder, for rows of the folder's ids."""
    config = json.loads((folder / "config.json").read_text())
    _, _, unused, prefix = KINDS[config["model_type"]]
    weights = {
        n.removeprefix(prefix): w for n, w in load_file(folder / "model.safetensors").items()
    }
    eps = config["layer_norm_eps"]
    x = weights["embeddings.word_embeddings.weight"][rows]
    places = torch.arange(rows.size(1)) + unused
    x = x + weights["embeddings.position_embeddings.weight"][places]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    norm = [weights[f"embeddings.LayerNorm.{end}"] for end in ("weight", "bias")]
    x = nn.functional.layer_norm(x, (WIDTH,), *norm, eps)
    for number in range(LAYERS):
        layer = nn.TransformerEncoderLayer(
            *(WIDTH, 2, INNER, 0.0, "gelu"), layer_norm_eps=eps, batch_first=True
        )
        there = f"encoder.layer.{number}."
        parts = [f"{there}attention.self.{part}" for part in ("query", "key", "value")]
        state = {
            f"self_attn.in_proj_{end}": torch.cat([weights[f"{part}.{end}"] for part in parts])
            for end in ("weight", "bias")
        }
        for ours, theirs in {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }.items():
            for end in ("weight", "bias"):
                state[f"{ours}.{end}"] = weights[f"{there}{theirs}.{end}"]
        layer.load_state_dict(state)
        x = layer(x, src_key_padding_mask=pads)
    return x


@pytest.mark.parametrize("positions", [AS_IT_WAS, {}, {"dynamics": "mlp"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_those_of_the_model(kind, positions, tmp_path):
    """A padded batch of sentences is compared, with each side's own vocabulary."""
    folder = write_model(tmp_path / "model", kind)
    convert_huggingface(folder, tmp_path / "out/model.pt", positions)
    model = load_model(tmp_path / "out/model.pt").model
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    begin, end, pad = (tokenizer.token_to_id(piece) for piece in KINDS[kind][1])
    theirs = [[begin, *tokenizer.encode(line).ids, end] for line in LINES]
    rows = nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in theirs], batch_first=True, padding_value=pad
    )
    hub = RobertaModel.from_pretrained(
        str(tmp_path / "out"),
        "model.pt",
        str(tmp_path / "out"),
        bpe="tokenizer_json",
        tokenizer_json=str(tmp_path / "out/tokenizer.json"),
    )
    ours = nn.utils.rnn.pad_sequence(
        [hub.encode(x) for x in LINES], batch_first=True, padding_value=1
    )
    assert ours.shape == rows.shape and max(map(len, theirs)) > 4
    with torch.no_grad():
        wanted = reference(folder, rows, rows.eq(pad))
        for found in (model, hub.model.eval()):
            features = found(ours, features_only=True)[0]
            difference = (features - wanted)[ours.ne(1)].abs().max()
            assert difference < 1e-5, difference
    assert hub.decode(hub.encode(LINES[1])) == LINES[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_lm_head_comes_along(kind, tmp_path):
    folder = write_model(tmp_path / "model", kind, head=True)
    converted = convert_huggingface(folder, tmp_path / "out.pt", {})
    assert converted.has_head and [n.split(".")[-3:-1] for n in converted.left_out] == [
        ["pooler", "dense"]
    ]
    model = load_model(tmp_path / "out.pt").model
    weights = load_file(folder / "model.safetensors")
    dense, norm = (
        {name: weight for name, weight in weights.items() if re.search(pattern, name)}
        for pattern in (r"(transform|lm_head)\.dense", r"transform\.LayerNorm|lm_head\.layer_norm")
    )
    features = torch.randn(2, WIDTH)
    x = nn.functional.gelu(nn.functional.linear(features, *sorted_ends(dense)))
    x = nn.functional.layer_norm(x, (WIDTH,), *sorted_ends(norm), 0.01)
    (words,) = (w for n, w in weights.items() if n.endswith("word_embeddings.weight"))
    (bias,) = (w for n, w in weights.items() if n in ("lm_head.bias", "cls.predictions.bias"))
    wanted = nn.functional.linear(x, words, bias)
    vocabulary = PieceTokenizer(folder / "tokenizer.json").vocabulary()
    dictionary = ["<s>", "<pad>", "</s>", "<unk>", *converted.dictionary, "<mask>"]
    there = [dictionary.index(name) for name in vocabulary]
    with torch.no_grad():
        found = model.encoder.lm_head(features)
    assert (found[:, there] - wanted[:, : len(there)]).abs().max() < 1e-5


def sorted_ends(named):
    """Return the weight and the bias."""
    return named[max(named)], named[min(named)]


def test_the_tokenizer_says_where_in_the_text_each_piece_is(tmp_path):
    """It does not truncate or pad, and it finds no special pieces in any text."""
    folder = write_model(tmp_path / "model", "bert")
    tokenizer = PieceTokenizer(folder / "tokenizer.json")
    text = "the brown lazy foxes jumps over quicker dogs"
    pieces = tokenizer.pieces(text)
    assert len(pieces) > 8
    shown = [text[begin:end] for _, begin, end in pieces]
    assert shown == [name.removeprefix("##") for name, *_ in pieces]
    bpe = TokenizerJson(TokenizerJsonOptions(tokenizer_json=str(folder / "tokenizer.json")))
    begun = [name for name in bpe.encode(text).split() if bpe.is_beginning_of_word(name)]
    assert len(begun) == len(text.split())
    names = {name for name, *_ in tokenizer.pieces("the [SEP] fox [MASK]")}
    assert names.isdisjoint({"</s>", "<mask>"}) and "the" in names


def test_byte_level_pieces_mark_where_words_begin(tmp_path):
    folder = write_model(tmp_path / "model", "roberta")
    bpe = TokenizerJson(TokenizerJsonOptions(tokenizer_json=str(folder / "tokenizer.json")))
    begun = [name for name in bpe.encode(" " + LINES[0]).split() if bpe.is_beginning_of_word(name)]
    assert len(begun) == len(LINES[0].split())
    assert bpe.decode(bpe.encode("Zoë  says: naïve")) == "Zoë  says: naïve"


def test_a_piece_with_white_space_is_refused(tmp_path):
    """fairseq's dictionary could not hold it: a line would end, or a name would have two words."""
    folder = write_model(tmp_path / "model", "bert")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["a\tb"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match=r"tokenizer.json has the piece 'a\\tb', but a name in"):
        convert_huggingface(folder, tmp_path / "out.pt", {})
    assert not (tmp_path / "out.pt").exists()


def test_what_is_unknown_is_so_whatever_it_looks_like(tmp_path):
    """Unigrams show it as it stands in the text, where a space would make it vanish."""
    pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "\u2581", "a")]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("b", -1.0)], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    bpe = TokenizerJson(TokenizerJsonOptions(tokenizer_json=str(tmp_path / "tokenizer.json")))
    assert bpe.encode("a\u2028b").split() == ["\u2581", "a", "<unk>", "b"]
    assert bpe.decode(bpe.encode("ab")) == "\u2581 a b"  # the file has no decoder


def without(folder, name):
    (folder / name).unlink()


def option(name, value):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    return change


def weight(name, change):
    def changed(folder):
        weights = load_file(folder / "model.safetensors")
        weights[name] = change(weights[name])
        if weights[name] is None:
            del weights[name]
        save_file(weights, folder / "model.safetensors")

    return changed


def cut(name, size):
    def change(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return change


QUERY = "encoder.layer.1.attention.self.query.weight"
WORDS = "embeddings.word_embeddings.weight"
DAMAGES = {
    "no options": (
        lambda f: without(f, "config.json"),
        "config.json: give the folder of a Hugging Face model",
    ),
    "no weights": (lambda f: without(f, "model.safetensors"), "must be in this one file"),
    "no tokenizer": (lambda f: without(f, "tokenizer.json"), "no tokenizer at"),
    "options cut off": (cut("config.json", 20), "config.json cannot be read (JSONDecodeError"),
    "weights cut off": (cut("model.safetensors", 900), "model.safetensors is damaged"),
    "tokenizer cut off": (cut("tokenizer.json", 900), "tokenizer.json cannot be read"),
    "another model": (option("model_type", "t5"), "has model_type 't5', which cannot be converted"),
    "a list": (option("hidden_act", ["gelu"]), "has hidden_act ['gelu'], which cannot be"),
    "relative": (option("position_embedding_type", "relative_key"), "must be one of absolute"),
    "no number": (option("hidden_size", "16"), "hidden_size '16', not a whole number"),
    "fewer words": (option("vocab_size", 40), "but the vocab_size of"),
    "more words": (option("vocab_size", 400), "pieces, not 400"),
    "more positions": (option("max_position_embeddings", 99), "it has 24 positions, not 99"),
    "more layers": (
        option("num_hidden_layers", 3),
        "nothing in it corresponds to fairseq's encoder.sentence_encoder.la",
    ),
    "heads": (option("num_attention_heads", 3), "there is no such model"),
    "width": (option("hidden_size", 18), "16 there, 18 here"),
    "eps": (option("layer_norm_eps", -1.0), "--layer-norm-eps must be > 0"),
    "no query": (weight(QUERY, lambda w: None), "it lacks encoder.sentence_encoder.layers.1.self_"),
    "nan": (weight(QUERY, lambda w: w * float("nan")), f"damaged, in {QUERY}: 256 of its 256"),
    "shape": (weight(QUERY, lambda w: w[:3]), "is 3 x 16 there, 16 x 16 here"),
    "words": (weight(WORDS, lambda w: w[:30]), "it has 30 pieces, not"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_converted_is_one_line(damage, tmp_path, capsys):
    change, message = DAMAGES[damage]
    folder = write_model(tmp_path / "model", "bert")
    change(folder)
    arguments = ["convert", "--from", "huggingface", str(folder), str(tmp_path / "out/model.pt")]
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


def test_positions_of_roberta_that_begin_elsewhere_are_refused(tmp_path, capsys):
    """They begin after the number of the pad, which is 1 in every RoBERTa that is published."""
    folder = write_model(tmp_path / "model", "roberta", pad_token_id=1)
    convert = ["convert", "--from", "huggingface", str(folder), str(tmp_path / "out/model.pt")]
    assert cli.main(convert) == 0
    option("pad_token_id", 0)(folder)
    assert cli.main(convert) == 1
    message = "has pad_token_id 0, which cannot be converted: it must be one of 1\n"
    assert message in capsys.readouterr().err


def test_words_that_fill_up_a_table_are_not_those_of_the_tokenizer(tmp_path):
    folder = write_model(tmp_path / "bert", "bert")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["madeupword0001"])
    tokenizer.save(str(folder / "tokenizer.json"))
    convert_huggingface(folder, tmp_path / "out/model.pt", AS_IT_WAS)
    words = (tmp_path / "out/dict.txt").read_text().splitlines()
    assert {"madeupword0000 1", "madeupword0001 1", "madeupword0002 1"} <= set(words)
    assert len(Dictionary.load(str(tmp_path / "out/dict.txt"))) == 4 + len(set(words))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_what_is_read_is_not_written_over(name, tmp_path, capsys):
    folder = write_model(tmp_path / "model", "bert")
    before = (folder / name).read_bytes()
    command = ["convert", "--from", "huggingface", str(folder)]
    assert cli.main([*command, str(folder / name)]) == 1
    assert "would be overwritten by what is made from it" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before
    assert cli.main([*command, str(tmp_path / "dict.txt")]) == 1
    message = "dict.txt is where its dict.txt is written: give another name"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_with_another_activation_than_fairseqs_is_left_out(kind, tmp_path):
    """RoBERTa's head always has gelu; BERT's has the activation of its blocks."""
    folder = write_model(tmp_path / "model", kind, head=True)
    option("hidden_act", "relu")(folder)
    converted = convert_huggingface(folder, tmp_path / "out.pt", {})
    assert converted.has_head == (kind == "bert")
    heads = [name for name in converted.left_out if name.startswith("lm_head.")]
    assert bool(heads) == (kind != "bert")


def test_another_dictionary_is_not_written_over(tmp_path):
    """It belongs to another model in the same folder; the same dictionary may be written again."""
    for kind in KINDS:
        write_model(tmp_path / kind, kind)
    convert_huggingface(tmp_path / "bert", tmp_path / "out/a.pt", AS_IT_WAS)
    convert_huggingface(tmp_path / "bert", tmp_path / "out/b.pt", {})
    message = r"dict.txt is there already, of another model, but c.pt needs"
    with pytest.raises(UserError, match=message):
        convert_huggingface(tmp_path / "roberta", tmp_path / "out/c.pt", {})
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a.pt", "b.pt", "dict.txt", "tokenizer.json"]


def test_the_command_and_a_training_from_what_it_writes(tmp_path):
    """A masked LM is trained with the base frozen, on pieces of text that fairseq prepares."""
    folder = write_model(tmp_path / "model", "bert")
    out = tmp_path / "out/model.pt"
    done = succeed("floater", "convert", "--from", "huggingface", folder, out)
    assert "left out, as fairseq has no place for them: pooler.dense.weight" in done.out
    assert "so a new one was added" in done.out
    options = TokenizerJsonOptions(tokenizer_json=str(tmp_path / "out/tokenizer.json"))
    pieces = "".join(TokenizerJson(options).encode(line) + "\n" for line in LINES)
    (tmp_path / "text").write_text(pieces)
    succeed(
        *("preprocess", "--only-source", "--srcdict", tmp_path / "out/dict.txt"),
        *("--trainpref", tmp_path / "text", "--validpref", tmp_path / "text"),
        *("--destdir", tmp_path / "bin"),
    )
    sizes = {"layers": LAYERS, "embed-dim": WIDTH, "ffn-embed-dim": INNER, "attention-heads": 2}
    shape = [part for name, size in sizes.items() for part in (f"--encoder-{name}", size)]
    train = [
        *("train", tmp_path / "bin", "--task", "masked_lm", "--criterion", "masked_lm", *COMMON),
        *("--arch", "floater_roberta", *shape, "--max-positions", POSITIONS, "--freeze-base"),
        *("--tokens-per-sample", POSITIONS, "--sample-break-mode", "complete", "--batch-size", 2),
        *("--optimizer", "adam", "--lr", 0.1, "--max-update", 2, "--log-interval", 1),
        *("--finetune-from-model", out, "--save-dir", tmp_path / "saved"),
    ]
    refused = run(*train)
    assert "--layer-norm-eps is 0.01 there, 1e-05 here" in refused.err
    succeed(*train, "--layer-norm-eps", 0.01)
    before, after = (
        read_checkpoint(str(p))["model"] for p in (out, tmp_path / "saved/checkpoint_last.pt")
    )
    changed = {name for name, w in before.items() if not torch.equal(w, after[name])}
    assert changed and all(".position_encoder." in name for name in changed)


def test_a_roberta_of_fairseqs_is_converted(tmp_path):
    """It is converted as a translation model is; the state read from the folder is fairseq's."""
    folder = write_model(tmp_path / "model", "roberta", layer_norm_eps=1e-5)
    torch.save(read_huggingface(folder).state, tmp_path / "stock.pt")
    convert(tmp_path / "stock.pt", tmp_path / "floater.pt", {"dynamics": "linear"})
    model = load_model(tmp_path / "floater.pt").model
    ids = torch.arange(4, 14).unsqueeze(0)
    convert_huggingface(folder, tmp_path / "as_it_was.pt", AS_IT_WAS)
    wanted = load_model(tmp_path / "as_it_was.pt").model
    with torch.no_grad():
        assert (model(ids)[0] - wanted(ids)[0]).abs().max() < 1e-5
    with pytest.raises(
        UserError, match="no architecture floater_transformer: choose from floater_r"
    ):
        convert(tmp_path / "stock.pt", tmp_path / "x.pt", {}, arch="floater_transformer")
