"""Answers in passages: windows, training and predictions."""

import json
import random
import shutil

import pytest
import torch
from commands import COMMON
from fairseq.data import Dictionary
from launching import run, succeed
from pretrained import AS_IT_WAS, INNER, LAYERS, LINES, POSITIONS, WIDTH, write_model
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

from fairseq_floater.checkpoints.convert import convert_huggingface
from fairseq_floater.data import (
    Layout,
    PieceTokenizer,
    QuestionWindows,
    read_squad,
)
from fairseq_floater.data.windows import windows
from fairseq_floater.errors import UserError
from fairseq_floater.tasks.floater_question_answering import (
    QuestionAnsweringConfig,
    QuestionAnsweringTask,
)
from fairseq_floater.understanding.answers import Asked, Candidate, best_spans

LONGEST = 20  # pieces of a window
SIZES = {"layers": LAYERS, "embed-dim": WIDTH, "ffn-embed-dim": INNER, "attention-heads": 2}
SHAPE = [part for name, size in SIZES.items() for part in (f"--encoder-{name}", size)]
ARCH = ["--arch", "floater_roberta", *SHAPE, "--layer-norm-eps", 0.01]
TASK = ["--task", "floater_question_answering", "--criterion", "answer_span"]
ROOM = [
    "--max-positions",
    POSITIONS,
    "--window-length",
    LONGEST,
    "--window-step",
    6,
    "--max-question-length",
    6,
]
WORDS = sorted(set(" ".join(LINES[:2]).split()))


def asked(passage, question, *answers, id="1"):
    """Return the content of a file with one question."""
    given = [{"text": text, "answer_start": begin} for text, begin in answers]
    qas = [{"id": id, "question": question, "answers": given}]
    return {"version": "v2.0", "data": [{"paragraphs": [{"context": passage, "qas": qas}]}]}


def write_questions(path, count, seed):
    """Ask which word comes after ``one?``, which every third passage does not have."""
    generator, paragraphs = random.Random(seed), []
    for number in range(count):
        words = generator.sample(WORDS, len(WORDS)) * 2
        place = generator.randint(1, len(words) - 2)
        words[place] = "one?"
        begin = len(" ".join(words[: place + 1])) + 1
        answers = [{"text": words[place + 1], "answer_start": begin}]
        if number % 3 == 2:
            words[place], answers = "dogs", []
        qas = [{"id": f"q{number}", "question": "one?", "answers": answers}]
        paragraphs.append({"context": " ".join(words), "qas": qas})
    text = json.dumps({"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]})
    path.write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pre-trained model, and questions for it in ``bin``."""
    folder = tmp_path_factory.mktemp("answers")
    convert_huggingface(write_model(folder / "there", "bert"), folder / "model/model.pt", AS_IT_WAS)
    (folder / "bin").mkdir()
    for name in ("dict.txt", "tokenizer.json"):
        (folder / "bin" / name).write_bytes((folder / "model" / name).read_bytes())
    for seed, (split, count) in enumerate({"train": 60, "valid": 12}.items()):
        write_questions(folder / f"bin/{split}.json", count, seed)
    return folder


def train(place, save, *options, arch=ARCH):
    return run(
        *("train", place / "bin", *COMMON, *TASK, *ROOM, *arch, "--batch-size", 24),
        *("--optimizer", "adam", "--lr", 0.01, "--max-update", 40, "--log-interval", 1),
        *("--no-epoch-checkpoints", "--validate-interval", 99, "--save-interval", 99),
        *("--finetune-from-model", place / "model/model.pt", "--save-dir", save, *options),
    )


@pytest.fixture(scope="module")
def tuned(place, tmp_path_factory):
    """FLOATER beside the model's own table, fine-tuned on the questions."""
    save = tmp_path_factory.mktemp("tuned")
    done = train(place, save)
    assert done.returncode == 0, done.err
    (save / "train.log").write_text(done.out)
    return save, done


def dataset(place, path, step=6, longest=LONGEST, separators=1):
    dictionary = Dictionary.load(str(place / "bin/dict.txt"))
    tokenizer = PieceTokenizer(place / "bin/tokenizer.json")
    return QuestionWindows(
        read_squad(path), tokenizer, Layout(dictionary, separators), longest, step, 6
    )


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 14, 37])
@pytest.mark.parametrize("step", [1, 4, 10])
def test_windows_reach_every_piece(length, step):
    found = windows(length, 10, step)
    assert {piece for first, last in found for piece in range(first, last)} == set(range(length))
    assert [first for first, _ in found] == [step * n for n in range(len(found))]
    assert all(last - first <= 10 for first, last in found)
    assert sum(last == length for _, last in found) == 1  # no window begins once all is read


def has_all_of_it(found, index):
    """True if a window's pieces include its question's whole answer."""
    window, question = found.windows[index], found.question(index)
    cut = found.passages[question.passage]
    begins, ends = (given[window.first : window.last] for given in (cut.begins, cut.ends))
    return any(
        begins[0] <= answer.begin and answer.end <= ends[-1] for answer in question.answers[:1]
    )


@pytest.mark.parametrize("separators", [1, 2])
def test_the_places_of_an_answer_are_its_characters(separators, place):
    """This holds in every window with the whole answer; other windows have no place for it."""
    found = dataset(place, place / "bin/train.json", separators=separators)
    assert len(found) > 2 * 60
    there = set()
    for index in range(len(found)):
        item, question = found[index], found.question(index)
        assert item["source"].eq(found.dictionary.eos()).sum() == 1 + separators
        first, last = item["answer"]
        assert len(item["source"]) == found.size(index) <= LONGEST
        assert bool(first) == has_all_of_it(found, index) and last < len(item["source"]) - 1
        if first == 0:
            continue
        begin, end = found.characters(index, first, last)
        text = found.squad.passages[question.passage][begin:end]
        assert (text, begin) == question.answers[0]
        assert first >= item["passage_begin"]
        there.add(question.id)
    assert there == {q.id for q in found.squad.questions if q.answers}


def test_answers_within_words_and_twice(place, tmp_path):
    """The pieces found hold the answer's characters, at the place that is meant."""
    path, passage = tmp_path / "one.json", "the dog, the dog jumps"
    for answer, wanted in {
        ("dog", 4): (4, 7),
        (",", 7): (7, 8),
        ("dog", 13): (13, 16),
        ("ump", 18): (17, 22),
        ("dog j", 13): (13, 22),
    }.items():
        path.write_text(json.dumps(asked(passage, "who?", answer)))
        found = dataset(place, path)
        first, last = found.answer(0)
        begin, end = found.characters(0, first, last)
        assert begin <= answer[1] and end >= answer[1] + len(answer[0])
        assert wanted[0] <= begin and end <= wanted[1]


@pytest.mark.parametrize(
    "mark",
    ["\N{COMBINING ACUTE ACCENT}", "\N{DEVANAGARI VOWEL SIGN E}", "\N{VARIATION SELECTOR-16}"],
)
def test_an_answer_keeps_its_last_mark(mark, place, tmp_path):
    """The mark is a character of its own, which BERT's tokenizer leaves out of its pieces."""
    stripping = Tokenizer.from_file(str(place / "bin/tokenizer.json"))
    stripping.normalizer = BertNormalizer()
    (tmp_path / "bin").mkdir()
    stripping.save(str(tmp_path / "bin/tokenizer.json"))
    (tmp_path / "bin/dict.txt").symlink_to(place / "bin/dict.txt")
    path, answer = tmp_path / "one.json", (f"dog{mark}", 4)
    path.write_text(json.dumps(asked(f"the {answer[0]} jumps", "who?", answer)))
    found = dataset(tmp_path, path)
    assert found.characters(0, *found.answer(0)) == (4, 8)


def test_a_batch_says_where_an_answer_can_be(place):
    found = dataset(place, place / "bin/valid.json")
    batch = found.collater([found[0], found[len(found) - 1]])
    tokens, inside = batch["net_input"]["src_tokens"], batch["in_passage"]
    assert batch["ntokens"] == int(tokens.ne(found.dictionary.pad()).sum())
    for row, index in enumerate(batch["id"].tolist()):
        allowed = {0, *range(found.passage_begin(index), found.size(index) - 1)}
        assert set(inside[row].nonzero().flatten().tolist()) == allowed
        assert tokens[row, found.size(index) - 1] == found.dictionary.eos()
    order = found.ordered_indices()
    assert sorted(order) == list(range(len(found)))
    assert (found.sizes[order][1:] >= found.sizes[order][:-1]).all()


def test_training_learns(tuned):
    _, done = tuned
    losses = done.losses()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert "12 questions about 12 passages" in done.out + done.err


def test_best_spans_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 9, generator=generator)
    logits[0, :, 1:3] = logits[1, :, 6:] = -float("inf")
    logits = logits.log_softmax(dim=2)
    sample = {"id": torch.tensor([7, 4])}
    for row, (index, nothing, spans) in enumerate(best_spans(sample, logits, 3, 5)):
        begin, end = logits[row]
        wanted = sorted(
            (
                (float(begin[i] + end[j]), i, j)
                for i in range(1, 9)
                for j in range(i, min(i + 3, 9))
            ),
            reverse=True,
        )
        wanted = [span for span in wanted if span[0] > -float("inf")][:5]
        assert index == sample["id"][row] and nothing == pytest.approx(float(begin[0] + end[0]))
        assert [span[1:] for span in spans] == [span[1:] for span in wanted]
        assert [span[0] for span in spans] == pytest.approx([span[0] for span in wanted])


def test_the_best_candidates_have_characters_and_are_in_one_window_each():
    asked = Asked()
    asked.candidates = [
        *(Candidate(-3.0, 4, 7), Candidate(-1.0, 5, 5)),
        *(Candidate(-2.0, 4, 7), Candidate(-4.0, 0, 2), Candidate(-5.0, 0, 1)),
    ]
    assert asked.best(2) == [Candidate(-2.0, 4, 7), Candidate(-4.0, 0, 2)]


def test_answers_are_in_their_passages(tuned, place, tmp_path):
    save, _ = tuned
    command = ["floater", "answer", save / "checkpoint_last.pt", place / "bin"]
    succeed(*command, "--out", tmp_path / "all")
    found, odds, best = (
        json.loads((tmp_path / f"all/{name}.json").read_text())
        for name in ("predictions", "null_odds", "nbest")
    )
    squad = read_squad(place / "bin/valid.json")
    for question in squad.questions:
        passage, answers = squad.passages[question.passage], best[question.id]
        assert found[question.id] == answers[0]["text"] != ""
        assert all(answer["text"] in passage for answer in answers)
        scores = [answer["score"] for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert sum(answer["probability"] for answer in answers) == pytest.approx(1.0)
    threshold = sorted(odds.values())[5]
    succeed(*command, "--out", tmp_path / "some", "--null-threshold", threshold, "--max-tokens", 64)
    some = json.loads((tmp_path / "some/predictions.json").read_text())
    wanted = {id: "" if odds[id] > threshold else text for id, text in found.items()}
    assert sum(some[id] != wanted[id] for id in wanted) <= 1  # rounding, at the threshold itself


@pytest.mark.parametrize("row", ["floater", "base"])
def test_windows_beyond_the_positions_of_training(row, tuned, place, tmp_path):
    """Windows can have room for a whole passage, unlike those of training, or be shorter."""
    save, _ = tuned
    if row == "base":  # the model with its own table alone
        save = tmp_path / "run"
        options = ["--position-encoder", "learned", "--position-blocks", "input"]
        assert train(place, save, *options, "--max-update", 1).returncode == 0
    command = ["floater", "answer", save / "checkpoint_last.pt", place / "bin", "--out", tmp_path]
    assert len(dataset(place, place / "bin/valid.json")) > 12
    assert len(dataset(place, place / "bin/valid.json", longest=2 * POSITIONS)) == 12
    found = []
    for length in ((), ("--window-length", 2 * POSITIONS), ("--window-length", LONGEST - 4)):
        succeed(*command, *length)
        found.append(json.loads((tmp_path / "null_odds.json").read_text()))
    assert len(found[0]) == 12
    assert found[0] != found[1] != found[2] != found[0]


def test_questions_of_another_folder(tuned, place, tmp_path):
    for name in ("dict.txt", "tokenizer.json"):
        (tmp_path / name).write_bytes((place / "bin" / name).read_bytes())
    content = asked("the lazy dog [SEP] sleeps", "one?", id="other")
    (tmp_path / "valid.json").write_text(json.dumps(content))
    command = ["floater", "answer", tuned[0] / "checkpoint_last.pt", tmp_path]
    succeed(*command, "--out", tmp_path / "out")
    assert list(json.loads((tmp_path / "out/predictions.json").read_text())) == ["other"]
    done = run(*command, "--out", tmp_path / "out", "--max-tokens", 3)
    assert "--max-tokens 3 is less than the longest row of valid needs" in done.last_error_line
    done = run(*command, "--out", tmp_path / "out", "--window-step", 15)
    assert "--window-step 15 would leave pieces of passages out" in done.last_error_line
    done = run(*command[:3], tmp_path / "nowhere", "--out", tmp_path / "out")
    assert done.returncode == 1 and "no dictionary at" in done.err


def test_a_dictionary_of_another_model_is_refused(place, tmp_path):
    """With it, all text would be unknown."""
    shutil.copy(place / "bin/tokenizer.json", tmp_path)
    (tmp_path / "dict.txt").write_text("".join(f"{number} 1\n" for number in range(99)))
    options = QuestionAnsweringConfig(data=str(tmp_path))
    with pytest.raises(UserError, match="dict.txt has 5 of the 85 pieces of .*tokenizer.json: "):
        QuestionAnsweringTask.setup_task(options)
    (tmp_path / "dict.txt").write_text("word\n")  # without a count
    with pytest.raises(UserError, match="dictionary .*dict.txt cannot be read "):
        QuestionAnsweringTask.setup_task(options)


def test_the_record_of_a_run_and_its_table(tuned, place, tmp_path):
    save, _ = tuned
    checkpoint, data = save / "checkpoint_last.pt", place / "bin"
    succeed("floater", "answer", checkpoint, data, "--out", save / "answer.valid")
    command = ["floater", "score-answers", save, "--data", data, "--tests", "valid"]
    shown = json.loads(succeed(*command).out)["valid"]
    record = ["--name", "squad/2.0/floater", "--checkpoint", checkpoint, "--order", 1]
    succeed(*command, *record, "--out", tmp_path / "results")
    translation = ["floater", "score", save, "--data", data, "--tests", "valid", *record[:4]]
    done = run(*translation, "--out", tmp_path / "translation")
    assert "holds a roberta, but this is for a transformer" in done.last_error_line
    written = json.loads((tmp_path / "results/2.0.floater.seed1.json").read_text())
    assert written["tests"]["valid"] == shown
    assert shown["total"] == 12 and shown["best_f1"] >= shown["f1"]
    succeed("floater", "report", tmp_path / "results", "--out", tmp_path / "table")
    asked = json.loads((data / "valid.json").read_text())
    asked["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    (tmp_path / "valid.json").write_text(json.dumps(asked))
    again = ["floater", "score-answers", save, "--data", tmp_path, "--tests", "valid"]
    other = json.loads(succeed(*again).out)["valid"]
    assert other["references"] != shown["references"]  # reports do not compare these
    (save / "answer.valid/null_odds.json").write_text('{"1": "high"}')
    assert "null_odds.json is not a file of floater answer" in run(*command).last_error_line
    table = (tmp_path / "table.md").read_text()
    assert f"| floater | {shown['f1']:.1f} (1) \\* |" in table and "HasAns_exact" in table


FAULTS = {
    "offset": (asked("the dog", "who?", ("dog", 3)), "the answer 'dog' to question 1 is not at"),
    "before": (asked("the dog", "who?", ("dog", -3)), "is not at character -3 of its passage"),
    "passage": (asked("  ", "who?"), "the passage of question 1 is empty"),
    "question": (asked("the dog", ""), "question 1 is empty"),
    "answer": (asked("the dog", "who?", ("", 3)), "an answer to question 1 is empty"),
    "null": (asked(None, "who?"), "None is not a text"),
    "half": (asked("a \ud800", "who?"), "surrogates not allowed"),
    "endless": (asked("the dog", "who?", ("dog", float("inf"))), "cannot convert float infinity"),
    "layout": ({"data": [{"paragraphs": [{}]}]}, "is not laid out as SQuAD's files are"),
    "none": ({"data": []}, "has no questions"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_files_are_named(fault, tmp_path):
    content, message = FAULTS[fault]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_squad(tmp_path / "a.json")


def test_questions_that_are_there_twice(tmp_path):
    content = asked("the dog", "who?", ("dog", 4))
    content["data"] *= 2
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="1 of 2 questions have faults.*1 is there twice"):
        read_squad(tmp_path / "a.json")


MISTAKES = {
    "step": (["--window-step", 12], "--window-step 12 would leave pieces of passages out"),
    "window": (["--window-length", POSITIONS + 1], "is beyond --max-positions"),
    "zero": (["--window-step", 0], "--window-step must be >= 1, got 0"),
    "split": (["--valid-subset", "dev"], "no questions at"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_before_training(mistake, place, tmp_path):
    options, message = MISTAKES[mistake]
    done = train(place, tmp_path / "run", *options)
    assert done.returncode and message in done.last_error_line, done.err
    assert "begin training epoch" not in done.out + done.err


def test_a_model_without_a_head_of_answers(place, tmp_path):
    done = train(place, tmp_path / "run", arch=["--arch", "roberta", *SHAPE])
    assert "says nothing about where an answer is" in done.last_error_line, done.err


def test_a_model_of_classes_has_no_answers(place, tmp_path):
    done = run(
        "floater", "answer", place / "model/model.pt", place / "bin", "--out", tmp_path / "a"
    )
    assert done.returncode == 1 and "is of --task masked_lm, which has no answers" in done.err
