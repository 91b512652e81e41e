"""Models of language understanding exported to transformers compute the same as in fairseq."""

from argparse import Namespace

import pytest
import torch
import transformers
from conftest import WITHIN
from fairseq.data import Dictionary
from launching import run, succeed
from pretrained import AS_IT_WAS, KINDS, LINES, WIDTH, write_model
from tokenizers import Tokenizer
from tokenizers.processors import ByteLevel
from torch import nn

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.checkpoints.export.huggingface.roberta import export_roberta
from fairseq_floater.checkpoints.loading import load_model
from fairseq_floater.data import PieceTokenizer
from fairseq_floater.errors import UserError

POSITIONS = [
    AS_IT_WAS,
    {},
    {"dynamics": "mlp", "base_positions": "rotary"},
    WITHIN["alibi learned"],
]

SHORT = ["a lazy dog", "dogs sleep"]


def use(folder, kind, texts, pairs=()):
    """Run one of transformers' classes on texts, with nothing but the files in the folder."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    of_kind = getattr(transformers, kind)
    model = of_kind.from_pretrained(folder, trust_remote_code=True).eval()
    assert type(model).__module__.startswith("transformers_modules.")
    given = (texts, pairs) if pairs else (texts,)
    batch = tokenizer(*given, return_tensors="pt", padding=True)
    with torch.no_grad():
        return model, tokenizer, batch["input_ids"].tolist(), model(**batch)


@pytest.fixture(autouse=True)
def files_of_models(tmp_path, monkeypatch):
    """Make transformers put the files that come with a model here, not in the home folder."""
    name = "transformers.dynamic_module_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(name, str(tmp_path / "modules"))


@pytest.fixture
def converted(tmp_path):
    """Return a function that makes a converted model of a kind, and returns its folder."""

    def make(kind, positions, head=None):
        folder = write_model(tmp_path / "published", kind)
        convert_huggingface(folder, tmp_path / "base/model.pt", positions)
        if head is not None:
            path = tmp_path / "base/model.pt"
            state = torch.load(path, weights_only=False)
            state["model"] |= {f"classification_heads.{n}": w for n, w in head.items()}
            torch.save(state, path)
        return tmp_path / "base"

    return make


def as_ours(folder, ids):
    """Convert the tokenizer's token numbers to fairseq's."""
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    dictionary.add_symbol("<mask>")
    names = PieceTokenizer(folder / "tokenizer.json").vocabulary()
    return torch.tensor([[dictionary.index(names[n]) for n in row] for row in ids])


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_are_the_same(kind, positions, converted, tmp_path):
    base = converted(kind, positions)
    export_roberta(base / "model.pt", tmp_path / "folder", base, positions=4)
    from fairseq_floater.checkpoints.export.huggingface.remote import modeling_floater_roberta

    exported = modeling_floater_roberta.FloaterRobertaModel.from_pretrained(tmp_path / "folder")
    pad = exported.config.pad_token_id
    tokenizer = PieceTokenizer(base / "tokenizer.json")._tokenizer
    rows = [torch.tensor(tokenizer.encode(line).ids) for line in LINES]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    ours = as_ours(base, ids.tolist())
    model = load_model(base / "model.pt").model
    with torch.no_grad():
        wanted, _ = model(ours, features_only=True)
        found = exported(ids, ours.ne(1).long())[0]
    assert (found - wanted)[ours.ne(1)].abs().max() < 1e-5 and ids.size(1) > 8


def test_classes_of_pairs_with_their_names(converted, tmp_path):
    torch.manual_seed(0)
    sizes = {"dense.weight": (WIDTH, WIDTH), "dense.bias": (WIDTH,)}
    sizes |= {"out_proj.weight": (3, WIDTH), "out_proj.bias": (3,)}
    head = {f"sentence_classification_head.{n}": torch.randn(size) for n, size in sizes.items()}
    base = converted("bert", {}, head)
    labels = tmp_path / "labels.txt"
    labels.write_text("no 3\nyes 2\nperhaps 1\nmadeupword0000 0\n")
    command = ["floater", "export", base / "model.pt", tmp_path / "out", "--to", "huggingface"]
    succeed(*command, "--data", base, "--labels", labels)
    labels.write_text("no 3\nyes 2\nperhaps 1\nnever 1\n")
    with pytest.raises(UserError, match="has 4 labels, but the model has 3 classes"):
        export_roberta(base / "model.pt", tmp_path / "other", base, labels=labels)
    kind = "AutoModelForSequenceClassification"
    exported, _, ids, found = use(tmp_path / "out", kind, SHORT, SHORT[::-1])
    assert exported.config.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    ids = as_ours(base, ids)
    assert ids[:, 0].tolist() == [0, 0] and (ids == 2).sum(dim=1).tolist() == [2, 2]
    with torch.no_grad():
        features, _ = load_model(base / "model.pt").model(ids, features_only=True)
    dense, bias, out, out_bias = head.values()
    x = torch.tanh(nn.functional.linear(features[:, 0], dense, bias))
    wanted = nn.functional.linear(x, out, out_bias)
    assert (found.logits - wanted).abs().max() < 1e-4
    *_, states = use(tmp_path / "out", "AutoModel", SHORT)  # without its head
    assert states[0].size(2) == WIDTH


@pytest.mark.parametrize(
    "task, separators",
    [
        ({"double_separator": True}, 2),
        ({"double_separator": False}, 1),
        ({"separator_token": 2}, 2),
        ({"separator_token": None}, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_put_together_as_in_training(kind, task, separators, converted, tmp_path):
    """Whatever the tokenizer does by itself."""
    base = converted(kind, AS_IT_WAS)
    state = torch.load(base / "model.pt", weights_only=False)
    state["args"] = Namespace(**vars(state["args"]), **task)
    torch.save(state, base / "model.pt")
    export_roberta(base / "model.pt", tmp_path / "out", base)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    found = tokenizer(SHORT[0], SHORT[1], return_offsets_mapping=True)
    ids = as_ours(base, [found["input_ids"]])[0]
    shown = [SHORT[0][begin:end] for begin, end in found["offset_mapping"]]
    assert not any(text.startswith(" ") for text in shown)
    first, second = (len(tokenizer.tokenize(text)) for text in SHORT)
    assert (ids == 2).tolist() == [False] * (1 + first) + [True] * separators + (
        [False] * second + [True]
    )


def test_a_tokenizer_that_puts_no_ends_gets_them(converted, tmp_path):
    """As that of a byte-level model whose file leaves them to others."""
    base = converted("roberta", AS_IT_WAS)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.post_processor = ByteLevel(trim_offsets=False)
    tokenizer.save(str(base / "tokenizer.json"))
    export_roberta(base / "model.pt", tmp_path / "out", base)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(*SHORT)
    ids = as_ours(base, [found["input_ids"]])[0]
    assert ids[0] == 0 and (ids == 2).sum() == 3 and ids[-1] == 2


def test_answers(converted, tmp_path):
    torch.manual_seed(0)
    head = {"span.weight": torch.randn(2, WIDTH), "span.bias": torch.randn(2)}
    base = converted("roberta", AS_IT_WAS, head)
    export_roberta(base / "model.pt", tmp_path / "out", base)
    kind = "AutoModelForQuestionAnswering"
    _, tokenizer, ids, found = use(tmp_path / "out", kind, SHORT[:1], SHORT[1:])
    ids = as_ours(base, ids)
    assert (ids == 2).sum().item() == 3  # two between the texts, as RoBERTa has
    assert tokenizer.model_max_length == 24
    with torch.no_grad():
        features, _ = load_model(base / "model.pt").model(ids, features_only=True)
    wanted = nn.functional.linear(features, *head.values())
    ends = torch.stack([found.start_logits, found.end_logits])
    assert (ends - wanted.permute(2, 0, 1)).abs().max() < 1e-4


def test_mistakes(converted, tmp_path):
    parts = {"dense.weight": (WIDTH, WIDTH), "dense.bias": (WIDTH,), "out_proj.weight": (2, WIDTH)}
    parts["out_proj.bias"] = (2,)
    heads = {f"{n}.{p}": torch.zeros(size) for n in ("one", "two") for p, size in parts.items()}
    base = converted("bert", {}, heads)
    with pytest.raises(UserError, match="has the heads one, two, but a folder for transformers"):
        export_roberta(base / "model.pt", tmp_path / "out", base)
    with pytest.raises(UserError, match="no dictionary at"):
        export_roberta(base / "model.pt", tmp_path / "out", tmp_path)
    (tmp_path / "dict.txt").write_text("one 1\n")
    with pytest.raises(UserError, match="has 6 words with the mask, but the model"):
        export_roberta(base / "model.pt", tmp_path / "out", tmp_path)
    lines = (base / "dict.txt").read_text().splitlines()
    (tmp_path / "dict.txt").write_text("".join(f"x{n} 1\n" for n in range(len(lines))))
    (tmp_path / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    with pytest.raises(UserError, match="take both files from the folder of one model"):
        export_roberta(base / "model.pt", tmp_path / "out", tmp_path)
    state = torch.load(base / "model.pt", weights_only=False)
    args = Namespace(**{**vars(state["args"]), "encoder_layers": 0})
    none = {name: w for name, w in state["model"].items() if ".layers." not in name}
    none = {name: w[:0] if name.endswith(".initial") else w for name, w in none.items()}
    torch.save({**state, "args": args, "model": none}, base / "none.pt")
    with pytest.raises(UserError, match="cannot be exported: its encoder has no blocks"):
        export_roberta(base / "none.pt", tmp_path / "out", base)
    after_words = {"encoder.sentence_encoder.quant_noise.weight": torch.zeros(WIDTH, WIDTH)}
    norm = torch.nn.utils.spectral_norm(torch.nn.Linear(WIDTH, 2)).state_dict()
    spectral = {f"classification_heads.one.out_proj.{name}": w for name, w in norm.items()}
    for options, weights in (
        ({"position_times": "sentences"}, {}),
        ({"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 1}, after_words),
        ({"spectral_norm_classification_head": True}, spectral),
    ):
        args, model = {**vars(state["args"]), **options}, {**state["model"], **weights}
        torch.save({**state, "args": Namespace(**args), "model": model}, base / "other.pt")
        flag = [*options][0].replace("_", "-")
        with pytest.raises(UserError, match=f"cannot be exported: its --{flag} "):
            export_roberta(base / "other.pt", tmp_path / "out", base)
    command = ["floater", "export", base / "model.pt", tmp_path / "out", "--to"]
    assert "--labels is for --to huggingface" in run(*command, "torch", "--labels", "x").err
    assert not (tmp_path / "out").exists()
