"""Options to choose from: rows, training, predictions, and faults of files."""

import json
import random

import pytest
import torch
from commands import COMMON
from fairseq.data import Dictionary
from launching import run, succeed
from pretrained import AS_IT_WAS, INNER, LAYERS, LINES, POSITIONS, WIDTH, write_model

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.criterions.multiple_choice import OPTION_HEAD, MultipleChoice
from fairseq_floater.data import ChoiceRows, Layout, PieceTokenizer, parse_passage, read_choices
from fairseq_floater.data.choices import with_option
from fairseq_floater.errors import UserError
from fairseq_floater.understanding.classes import read_predictions

SIZES = {"layers": LAYERS, "embed-dim": WIDTH, "ffn-embed-dim": INNER, "attention-heads": 2}
SHAPE = [part for name, size in SIZES.items() for part in (f"--encoder-{name}", size)]
ARCH = ["--arch", "floater_roberta", *SHAPE, "--layer-norm-eps", 0.01]
TASK = ["--task", "floater_multiple_choice", "--criterion", "multiple_choice"]
ROOM = ["--max-positions", POSITIONS, "--max-option-length", 8]
WORDS = sorted(set(" ".join(LINES[:2]).split()))
ROWS = {"train": 40, "valid": 10}
UPDATES = 140  # enough to learn with each of eight seeds


def write_passages(path, count, seed, answers=True):
    """Write lines with two questions each; the right option is always the fox."""
    generator, lines = random.Random(seed), []
    others = [word for word in WORDS if word != "fox"]
    for _ in range(count // 2):
        found = {"article": " ".join(generator.sample(WORDS, 8)), "questions": ["who?", "_ jumps"]}
        options = [["fox", *generator.sample(others, 3)] for _ in range(2)]
        for of_question in options:
            generator.shuffle(of_question)
        found["options"] = options
        if answers:
            found["answers"] = ["ABCD"[of_question.index("fox")] for of_question in options]
        lines.append(json.dumps(found))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pre-trained model, and questions for it in ``bin``."""
    folder = tmp_path_factory.mktemp("choices")
    model = write_model(folder / "there", "bert")
    convert_huggingface(model, folder / "model/model.pt", AS_IT_WAS)
    (folder / "bin").mkdir()
    for name in ("dict.txt", "tokenizer.json"):
        (folder / "bin" / name).write_bytes((folder / "model" / name).read_bytes())
    for seed, (split, count) in enumerate(ROWS.items()):
        write_passages(folder / f"bin/{split}.jsonl", count, seed)
    write_passages(folder / "bin/test.jsonl", 4, 9, answers=False)
    return folder


def train(place, save, *options):
    return run(
        *("train", place / "bin", *COMMON, *TASK, *ROOM, *ARCH, "--batch-size", 8),
        *("--optimizer", "adam", "--lr", 0.003, "--max-update", 30, "--log-interval", 1),
        *("--no-epoch-checkpoints", "--validate-interval", 99, "--save-interval", 99),
        *("--finetune-from-model", place / "model/model.pt", "--save-dir", save, *options),
    )


def rows(place, split, longest=POSITIONS, option=8):
    dictionary = Dictionary.load(str(place / "bin/dict.txt"))
    tokenizer = PieceTokenizer(place / "bin/tokenizer.json")
    return ChoiceRows(
        read_choices(place / f"bin/{split}.jsonl"), tokenizer, Layout(dictionary), longest, option
    )


@pytest.fixture(scope="module")
def tuned(place, tmp_path_factory):
    """FLOATER beside the model's own table, fine-tuned on the questions."""
    save = tmp_path_factory.mktemp("tuned")
    still = [part for kind in ("", "attention-", "activation-") for part in (f"--{kind}dropout", 0)]
    rate = ["--lr", 0.01, "--lr-scheduler", "polynomial_decay", "--warmup-updates", 10]
    end = ["--total-num-update", UPDATES, "--max-update", UPDATES]
    done = train(place, save, *rate, *end, *still)
    assert done.returncode == 0, done.err
    (save / "train.log").write_text(done.out)
    return save, done


def test_every_option_is_a_row_before_its_passage(place):
    found = rows(place, "valid")
    batch = found.collater([found[0], found[3]])
    tokens, lengths = batch["net_input"]["src_tokens"], batch["net_input"]["src_lengths"]
    assert tokens.size(0) == 8 and batch["target"].tolist() == [
        found[0]["label"],
        found[3]["label"],
    ]
    for row, (number, option) in enumerate((n, o) for n in (0, 3) for o in range(4)):
        question, d = found.choices.questions[number], found.dictionary
        texts = question.options[option], found.choices.passages[question.passage]
        pieces = [
            [piece.name for piece in PieceTokenizer(place / "bin/tokenizer.json").pieces(text)]
            for text in texts
        ]
        kept = ["<s>", *pieces[0][:8], "</s>", *pieces[1]]
        wanted = [*kept[: POSITIONS - 1], "</s>"]
        assert [d[token] for token in tokens[row, : lengths[row]]] == wanted
        assert lengths[row] <= found.size(number) <= POSITIONS
    assert found.num_tokens(0) == 4 * found.size(0)


def test_passages_that_are_cut_are_counted(place):
    assert rows(place, "valid").cut == 0
    short = rows(place, "valid", longest=12, option=4)
    assert short.cut == len(short) and short.sizes.max() == 12
    assert rows(place, "valid", option=99).cut_options == 0
    whole = rows(place, "valid", option=99)
    assert short.cut_options == sum(len(o) > 4 for given in whole.options for o in given) > 0
    assert all(len(row) == 12 for row in short[0]["rows"])


def test_a_model_learns_to_choose(tuned):
    """It starts from a guess among four, which is 2 bits."""
    _, done = tuned
    losses = done.losses()
    assert len(losses) == UPDATES and losses[0] == pytest.approx(2, abs=0.1) and losses[-1] < 0.1
    assert "train: 40 questions about 20 passages; 0 questions have" in done.out + done.err


def test_predictions_are_letters(tuned, place, tmp_path):
    save, _ = tuned
    command = ["floater", "predict", save / "checkpoint_last.pt", place / "bin"]
    succeed(*command, "--out", save / "predict.valid.tsv")
    found = read_predictions(save / "predict.valid.tsv")
    published = [json.loads(line) for line in (place / "bin/valid.jsonl").read_text().splitlines()]
    assert found.labels == [letter for passage in published for letter in passage["answers"]]
    assert found.predictions == found.labels  # the fox, in questions it was not trained on
    succeed(*command, "--out", tmp_path / "small.tsv", "--max-tokens", 100)
    other = read_predictions(tmp_path / "small.tsv")  # rounding may change one
    assert other.labels == found.labels
    assert sum(a != b for a, b in zip(other.predictions, found.predictions)) <= 1
    succeed(*command, "--out", tmp_path / "test.tsv", "--subset", "test")
    header, *lines = (tmp_path / "test.tsv").read_text().splitlines()
    assert header == "index\tprediction" and len(lines) == 4
    score = ["floater", "score-labels", save, "--name", "race/race/floater", "--tests", "valid"]
    done = succeed(
        *score, "--metrics", "accuracy", "--checkpoint", command[2], "--out", tmp_path / "results"
    )
    right = sum(p == label for p, label in zip(found.predictions, found.labels))
    assert f"valid: accuracy {100 * right / 10:.1f} of 10 rows" in done.out


class Model(torch.nn.Module):
    """Scores a row by its second piece."""

    def forward(self, src_tokens, src_lengths, features_only, classification_head_name):
        assert features_only and classification_head_name == OPTION_HEAD
        return src_tokens[:, 1:2].double() / 10, None


def test_the_loss_by_hand(place):
    found = rows(place, "valid")
    batch = found.collater([found[0], found[1], found[5]])
    criterion = MultipleChoice(task=None)
    loss, size, log = criterion(Model(), batch)
    wanted, right = 0.0, 0
    for number in (0, 1, 5):
        scores = torch.tensor([float(row[1]) / 10 for row in found[number]["rows"]])
        wanted -= float(scores.log_softmax(0)[found[number]["label"]])
        right += int(scores.argmax()) == found[number]["label"]
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    assert size == 3 and int(log["nright"]) == right


def test_an_option_fills_the_blanks_or_follows():
    assert with_option("The ___ jumps  over _.", "\\1 fox") == "The \\1 fox jumps over \\1 fox."
    assert with_option("Who jumps?", " the  fox ") == "Who jumps? the fox"


GOOD = {"article": "a", "questions": ["q"], "options": [["x", "y"]], "answers": ["B"]}
FAULTS = {
    "article": ({"article": " "}, "its article is empty"),
    "counts": ({"answers": ["A", "B"]}, "it has 1 questions, 1 lists of options, 2 answers"),
    "letter": ({"answers": ["C"]}, "the answer 'C' is not one of A, B"),
    "letters": ({"answers": ["AB"]}, "the answer 'AB' is not one of A, B"),
    "empty": ({"options": [["x", " "]]}, "the question 'q' has fewer than two options, or empty"),
    "asked": ({"questions": [" "]}, "a question is empty"),
    "many": ({"options": [["x"] * 11]}, "the question 'q' has more options than ABCDEFGHIJ"),
    "one": ({"options": [["x"]]}, "the question 'q' has fewer than two options"),
    "half a character": ({"options": [["x", "\ud83d"]]}, "surrogates not allowed"),
    "layout": ({"options": None}, "object of type 'NoneType' has no len"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_with_their_line(fault, tmp_path):
    change, message = FAULTS[fault]
    text = "".join(json.dumps(passage) + "\n" for passage in (GOOD, {**GOOD, **change}))
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(UserError, match=f"a.jsonl, line 2: .*{message}"):
        read_choices(tmp_path / "a.jsonl")


def test_files_of_no_use(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(UserError, match="no questions at .*: prepare them with data-prep/race.sh"):
        read_choices(path)
    path.write_text("")
    with pytest.raises(UserError, match="a.jsonl has no questions"):
        read_choices(path)
    three = {**GOOD, "options": [["x", "y", "z"]]}
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(three) + "\n")
    with pytest.raises(UserError, match="has questions of 2 and of 3 options"):
        read_choices(path)
    unknown = {**GOOD, "answers": []}
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(unknown) + "\n")
    with pytest.raises(UserError, match="has 1 questions without an answer among 2"):
        read_choices(path)
    strange = json.dumps({**GOOD, "article": "a\u2028b\u0085c"}, ensure_ascii=False)
    path.write_text(strange + "\n", "utf-8")
    assert read_choices(path).passages == ["a b c"]
    path.write_bytes(b"\xff\n")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    with pytest.raises(UserError, match="deep.jsonl, line 1: "):
        read_choices(tmp_path / "deep.jsonl")
    with pytest.raises(UserError, match="a.jsonl, line 1: 'utf-8' codec"):
        read_choices(path)
    _, questions = parse_passage({**GOOD, "answers": []}, 0)
    assert questions[0].label is None


def test_questions_without_answers_teach_nothing(place, tmp_path):
    done = train(place, tmp_path / "run", "--train-subset", "test")
    assert "these questions have no answers to learn" in done.last_error_line, done.err


def test_a_model_that_scores_no_options(place, tmp_path):
    command = ["train", place / "bin", *COMMON, *TASK, "--arch", "transformer_tiny"]
    done = run(*command, "--batch-size", 8, "--save-dir", tmp_path / "run")
    assert "--arch transformer_tiny has no score for an option" in done.last_error_line, done.err


def test_no_room_for_a_passage(place, tmp_path):
    done = train(place, tmp_path / "run", "--max-option-length", POSITIONS - 3)
    assert "leaves no room for a passage" in done.last_error_line and done.returncode
