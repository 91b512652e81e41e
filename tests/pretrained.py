"""Folders of small random models, as Hugging Face's ``save_pretrained`` writes them."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "a lazy dog sleeps",
    "foxes jump, dogs sleep; who is quicker than the brown one?",
]
WIDTH, INNER, LAYERS, POSITIONS = 16, 32, 2, 24
#: options that keep the positions of the original model
AS_IT_WAS = {"position_encoder": "learned", "position_blocks": "input"}


def wordpiece():
    """Return a tokenizer like BERT's, with no special piece where fairseq's order has it.

    Its pieces are listed here because those that a WordPiece trainer finds vary from run to run.
    """
    special = ["[PAD]", "[unused1]", "[MASK]", "[UNK]", "[SEP]", "[CLS]"]
    letters = sorted(set("".join(LINES)) - set(" ,;?"))
    whole = "brown dog dogs fox foxes is jump jumps la lazy on quick sl slee than the wh".split()
    inside = [f"##{piece}" for piece in (*letters, "an", "ee", "er", "es", "ic", "ow", "zy")]
    pieces = [*special, ",", ";", "?", *letters, *inside, *whole]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.enable_truncation(4)  # as sentence encoders are published
    tokenizer.enable_padding(length=4, pad_token="[PAD]")
    return tokenizer


def byte_level():
    """Return a tokenizer like RoBERTa's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


#: by type: its tokenizer, special pieces (beginning, end, pad), unused rows of positions, prefix
KINDS = {
    "bert": (wordpiece, ("[CLS]", "[SEP]", "[PAD]"), 0, ""),
    "roberta": (byte_level, ("<s>", "</s>", "<pad>"), 2, "roberta."),
}


def write_model(folder, kind, head=False, **changes):
    """Write a folder as ``save_pretrained`` does, with random weights, and return it."""
    make, _, unused, prefix = KINDS[kind]
    tokenizer = make()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    words = tokenizer.get_vocab_size() + 3  # tables are often padded
    config = {
        "model_type": kind,
        "num_hidden_layers": LAYERS,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS + unused,
        "vocab_size": words,
        "layer_norm_eps": 0.01,  # unusual, so that a wrong one would show
        "hidden_act": "gelu",
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {
        "embeddings.word_embeddings.weight": (words, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS + unused, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "pooler.dense.weight": (WIDTH, WIDTH),
        **vector("embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
        shapes |= vector(f"{layer}.attention.output.LayerNorm")
        shapes |= linear(f"{layer}.intermediate.dense", WIDTH, INNER)
        shapes |= linear(f"{layer}.output.dense", INNER, WIDTH)
        shapes |= vector(f"{layer}.output.LayerNorm")
    shapes = {prefix + name: shape for name, shape in shapes.items()}
    if head:
        names = ("dense", "layer_norm") if kind == "roberta" else ("dense", "LayerNorm")
        where = "lm_head" if kind == "roberta" else "cls.predictions"
        inside = where if kind == "roberta" else f"{where}.transform"
        shapes |= linear(f"{inside}.{names[0]}", WIDTH, WIDTH) | vector(f"{inside}.{names[1]}")
        shapes[f"{where}.bias"] = (words,)
    generator = torch.Generator().manual_seed(5)
    weights = {n: 0.3 * torch.randn(shape, generator=generator) for n, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")
    return folder


def linear(name, inside, out):
    return {f"{name}.weight": (out, inside), f"{name}.bias": (out,)}


def vector(name):
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
