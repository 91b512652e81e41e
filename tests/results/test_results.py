"""Averaging, scoring and reporting, against independent computations of the same."""

import math
import random
import re
from functools import partial

import pytest
import sacrebleu
import torch
from commands import SENTENCES, TRAINING
from fairseq import checkpoint_utils
from launching import run, succeed
from places import ROOT
from saved import save_floater

from fairseq_floater.checkpoints.average import average_checkpoints, last_checkpoints
from fairseq_floater.checkpoints.loading import load_model, load_options
from fairseq_floater.errors import UserError
from fairseq_floater.inspection.encoders import count_parameters, solver_errors
from fairseq_floater.results import significance
from fairseq_floater.results.generation import Translation, read_generation, read_lines
from fairseq_floater.results.lengths import by_words
from fairseq_floater.results.page import markdown
from fairseq_floater.results.record import Record, references_path
from fairseq_floater.results.report import report
from fairseq_floater.results.scores import EvaluationSet, score, split_compounds, tokenised_bleu
from fairseq_floater.results.significance import p_values
from fairseq_floater.results.training import read_training

pytest_plugins = ["commands"]


def sentences(count, seed, words=40, low=3, high=12):
    random.seed(seed)
    return [
        " ".join(f"w{random.randrange(words)}" for _ in range(random.randint(low, high)))
        for _ in range(count)
    ]


def corrupt(lines, share, seed):
    random.seed(seed)
    return [
        " ".join(word if random.random() > share else "x" for word in line.split())
        for line in lines
    ]


# --- averaging


def test_average_is_the_mean_of_every_weight(trained, tmp_path):
    first = trained["floater"][0]
    state = torch.load(first, weights_only=False)
    copies = []
    for i, factor in enumerate((1.0, 2.0, 6.0)):
        state["model"] = {k: v * factor for k, v in torch.load(first)["model"].items()}
        copies.append(tmp_path / f"checkpoint{i + 8}.pt")
        torch.save(state, copies[-1])
    done = run("floater", "average", tmp_path, "--last", 3, "--out", tmp_path / "mean.pt")
    assert done.returncode == 0, done.err
    assert "checkpoint8.pt, checkpoint9.pt, checkpoint10.pt" in done.out
    mean = torch.load(tmp_path / "mean.pt", weights_only=False)
    for name, value in torch.load(first)["model"].items():
        expected = (value.double() * 3).to(value.dtype)
        assert torch.equal(mean["model"][name], expected), name
    assert mean["last_optimizer_state"] is None and mean["cfg"] is not None
    checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "mean.pt"))  # fairseq reads it


def test_last_checkpoints_are_sorted_by_number(tmp_path):
    for name in ("checkpoint9", "checkpoint10", "checkpoint_best", "checkpoint_last"):
        (tmp_path / f"{name}.pt").touch()
    assert [p.name for p in last_checkpoints(tmp_path, 2)] == ["checkpoint9.pt", "checkpoint10.pt"]
    for update in (500, 1000):
        (tmp_path / f"checkpoint_3_{update}.pt").touch()
    names = [p.name for p in last_checkpoints(tmp_path, 2)]
    assert names == ["checkpoint_3_500.pt", "checkpoint_3_1000.pt"]
    message = "has 2 checkpoints by update and 2 by epoch to average, but 3"
    with pytest.raises(UserError, match=message):
        last_checkpoints(tmp_path, 3)


def test_average_refuses_other_models(trained, tmp_path):
    with pytest.raises(UserError, match="is of another model than.*it lacks"):
        average_checkpoints([trained["floater"][0], trained["stock"][0]], tmp_path / "mean.pt")
    assert not list(tmp_path.iterdir())


# --- generation logs


@pytest.fixture(scope="module")
def generated(corpus, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    flags = ["--user-dir", ROOT / "fairseq_floater", "--cpu", "--required-batch-size-multiple", 1]
    flags += ["--path", trained["floater"][0], "--num-workers", 0, "--beam", 2, "--max-len-b", 6]
    result = succeed("generate", corpus, *flags)
    log = folder / "generate.test.log"
    log.write_text(result.out + result.err)
    return log, result


def test_generation_is_read_in_the_order_of_the_corpus(generated):
    log, result = generated
    translations = read_generation(log)
    hypotheses = result.hypotheses()
    assert [t.text for t in translations] == [hypotheses[i][1] for i in range(SENTENCES["test"])]
    for t in translations:  # no subwords here: tokens are words
        assert t.length == len(t.text.split()) <= 6
        assert t.ended == (t.length < 6)
    assert [t.ended for t in read_generation(log, 4)] == [t.length < 4 for t in translations]


def test_incomplete_generation_is_refused(generated, tmp_path):
    text = generated[0].read_text()
    cut = tmp_path / "generate.test.log"
    cut.write_text("\n".join(line for line in text.split("\n") if not line.startswith("H-3")))
    with pytest.raises(UserError, match="incomplete"):
        read_generation(cut)
    cut.write_text(text.replace("'max_len_a': 0.0", "'max_len_a': 1.2"))
    with pytest.raises(UserError, match="depend on the batch"):
        read_generation(cut)


# --- scores


def test_files_of_a_corpus_that_do_not_belong_together():
    with pytest.raises(UserError, match="2 sources, 3 references and 3 lines of tokens: prepare"):
        EvaluationSet(["a", "b"], ["a", "b", "c"], None, "en", lowercase=False)
    with pytest.raises(UserError, match="2 sources, 2 references and 1 lines of tokens: prepare"):
        EvaluationSet(["a", "b"], ["a", "b"], ["a"], "en", lowercase=False)
    test = EvaluationSet(["a", "b"], ["a", "b"], None, "en", lowercase=False)
    translations = [Translation("a", 1, True), Translation("b", 1, True)]
    with pytest.raises(UserError, match="lengths in words are those of 1 sentences"):
        score(translations, test, [by_words(["a"], [5])])


def test_scores_are_sacrebleus(tmp_path):
    source, reference = sentences(60, 1), sentences(60, 2)
    output = corrupt(reference, 0.3, 3)
    translations = [
        Translation(line, len(line.split()), i % 4 > 0) for i, line in enumerate(output)
    ]
    test = EvaluationSet(source, reference, None, "en", lowercase=False)
    found = score(translations, test, [by_words(source, [5, 8])])
    assert found["bleu"] == sacrebleu.corpus_bleu(output, [reference]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(output, [reference]).score
    assert found["ended"] == 0.75 and "bleu_tokenised" not in found
    assert [b["words"] for b in found["bins"]] == ["<= 5", "6-8", "> 8"]
    for part, low, high in zip(found["bins"], (0, 5, 8), (5, 8, 99)):
        chosen = [i for i, line in enumerate(source) if low < len(line.split()) <= high]
        assert part["sentences"] == len(chosen)
        expected = sacrebleu.corpus_bleu(
            [output[i] for i in chosen], [[reference[i] for i in chosen]]
        )
        assert part["bleu"] == expected.score
        assert part["length_ratio"] == expected.sys_len / expected.ref_len


def test_tokens_are_detokenised_for_sacrebleu():
    tokens = ["das ist &quot; gut &quot; , sagt er .", "ein t-shirt"]
    plain = ['Das ist "gut", sagt er.', "ein T-Shirt"]
    translations = [Translation(line, len(line.split()), True) for line in tokens]
    found = score(translations, EvaluationSet(plain, plain, tokens, "de", lowercase=True), (), True)
    assert found["hypotheses"] == ['das ist "gut", sagt er.', "ein t-shirt"]
    for kind in ("bleu", "bleu_tokenised", "bleu_compound_split"):
        assert found[kind] == pytest.approx(100)


def test_compounds_are_split_as_by_the_usual_script():
    """These are the results of Perl's s{(\\S)-(\\S)}{$1 ##AT##-##AT## $2}g."""
    lines = ["a state-of-the-art x-y", "- dash -", "a-b-c-d", "2-3"]
    assert [line.replace("##AT##-##AT##", "@") for line in split_compounds(lines)] == [
        "a state @ of @ the @ art x @ y",
        "- dash -",
        "a @ b-c @ d",
        "2 @ 3",
    ]


def test_tokenised_bleu_counts_tokens_as_they_are():
    reference = ["a b c d e f", "g h i j k"]
    output = ["a b c d x f", "g h i j k"]
    # By hand: matches and candidates of 1- to 4-grams; no brevity penalty.
    precisions = [10 / 11, 7 / 9, 5 / 7, 3 / 5]
    expected = 100 * math.exp(sum(map(math.log, precisions)) / 4)
    assert tokenised_bleu(output, reference) == pytest.approx(expected)


def test_wrong_number_of_translations_is_refused():
    test = EvaluationSet(["a"], ["b"], None, "en", False)
    with pytest.raises(UserError, match="2 translations for 1 references"):
        score([Translation("x", 1, True)] * 2, test)


def test_significance_tells_noise_from_a_difference():
    reference = sentences(200, 5)
    base, same = corrupt(reference, 0.3, 6), corrupt(reference, 0.3, 7)
    better = corrupt(reference, 0.15, 8)
    systems = [("same", same), ("better", better), ("equal", list(base))]
    found = p_values(base, systems, reference, lowercase=False)
    for test in ("bootstrap", "randomisation"):
        assert set(found["equal"][test].values()) == {1.0}
        assert found["better"][test]["BLEU"] < 0.01 and found["better"][test]["chrF2"] < 0.01
        assert found["same"][test]["BLEU"] > 0.05
    assert p_values(base, [], reference, lowercase=False) == {}


# --- the cost of a run


def test_training_log_over_an_interruption(corpus, trained, tmp_path):
    flags = [*TRAINING, "--arch", "floater_transformer", "--log-format", "simple"]
    log = ""
    for updates in (5, 9):
        command = ["train", corpus, *flags, "--save-dir", tmp_path, "--max-update", updates]
        result = succeed(*command)
        log += result.out + result.err
    (tmp_path / "train.log").write_text(log + "\nvalid | epoch 009 | valid on 'valid' subset")
    found = read_training(tmp_path / "train.log")
    assert found["updates"] == 9 and found["validations"] >= 2
    assert re.fullmatch(r".* CPU, 1 threads, torch \S+", found["machine"])
    assert found["words_per_second"] > 0 and 0.1 < found["peak_host_memory"] < 10
    model = torch.load(tmp_path / "checkpoint_last.pt", weights_only=False)["model"]
    shared = {"decoder.embed_tokens.weight", "encoder.version", "decoder.version"}
    counted = sum(v.numel() for k, v in model.items() if k not in shared)
    assert 0.5 * counted < found["parameters"] <= sum(v.numel() for v in model.values())


def test_position_parameters(trained):
    floater, learned = trained["floater"][0], trained["learned"][0]
    # h: 8 rates and a basis per stack; 2 blocks x (3 + 6) initial values of 16 numbers.
    assert count_parameters(load_model(floater).model) == {
        "dynamics": 2 * (8 + 16 * 16),
        "initial values": 2 * (3 + 6) * 16,
        "base": 0,
    }
    assert count_parameters(load_model(learned).model)["dynamics"] == 2 * 2 * 20 * 16
    assert load_options(floater)[1].in_force()["position_injection"] == "bias"
    with pytest.raises(UserError, match="does not hold a floater_transformer"):
        load_model(trained["stock"][0])


def test_solver_errors(trained, tmp_path):
    """Rotations have none; a new mlp has small ones, and one that is too steep has large ones."""
    rotations = solver_errors(load_model(trained["floater"][0]).model)
    assert set(rotations) == {"encoder", "decoder"} and max(rotations.values()) < 1e-6
    floater = save_floater(tmp_path / "floater.pt", dynamics="mlp")
    errors = solver_errors(load_model(floater).model)
    assert set(errors) == {"encoder", "decoder"} and max(errors.values()) < 5e-3
    assert solver_errors(load_model(trained["learned"][0]).model) == {}
    state = torch.load(floater, weights_only=False)
    for name, weight in state["model"].items():
        if name.startswith("encoder.position_encoder.dynamics") and name.endswith("weight"):
            weight.mul_(30)
    torch.save(state, tmp_path / "steep.pt")
    steep = solver_errors(load_model(tmp_path / "steep.pt").model)
    assert steep["encoder"] > 0.05 and steep["decoder"] == errors["decoder"]


# --- reports


def make_record(row, order, seed, share, folder, bins=True):
    source, reference = sentences(80, 1), sentences(80, 2)
    output = corrupt(reference, share, 100 * order + seed)
    translations = [Translation(line, len(line.split()), True) for line in output]
    test = EvaluationSet(source, reference, None, "de", lowercase=False)
    references_path(folder, "en-de", "test").write_text("\n".join(reference) + "\n")
    tests = {"test": score(translations, test, [by_words(source, [5, 8])] if bins else [])}
    record = Record("table", "en-de", row, order, seed, {}, tests, {"bleu": "case:mixed"})
    record.training = {"updates": 10, "parameters": 1234567, "words_per_second": 99.0}
    record.position_parameters = {"dynamics": 5, "initial values": 7, "base": 0}
    record.write(folder)
    return record


@pytest.mark.parametrize("bins", [True, False])
def test_report_holds_means_deviations_and_p_values(tmp_path, bins):
    records = [
        make_record(row, order, seed, share, tmp_path, bins)
        for order, (row, share) in enumerate({"base": 0.4, "ours": 0.1}.items())
        for seed in (1, 2)
    ]
    make_record("later", 2, 2, 0.1, tmp_path, bins)
    done = run("floater", "report", tmp_path, "--out", tmp_path / "out/table", "--baseline", "base")
    assert done.returncode == 0, done.err
    text = (tmp_path / "out/table.md").read_text()
    assert (tmp_path / "out/table.png").read_bytes().startswith(b"\x89PNG")
    a, b = (r.tests["test"]["bleu"] for r in records[2:])
    assert f"| ours | {(a + b) / 2:.1f} ± {abs(a - b) / math.sqrt(2):.1f} |" in text
    c, d = (r.tests["test"]["bleu"] for r in records[:2])
    assert re.search(rf"\| base \\\* \| {(c + d) / 2:.1f} ± \S+ \|\n", text)
    gain = a - records[0].tests["test"]["bleu"]
    assert f"| test | ours | 1 | {gain:+.1f} | 0.0010 |" in text
    within = re.findall(r"^\| test \| (\w+) \| (\d) \|", text, re.M)
    assert within == [("ours", "1"), ("later", "2")]  # the first seed that each shares with base
    assert "1,234,567" in text and ("ended by themselves" in text) == bins
    assert "±" not in text.split("| test | ours | 1")[1].split("\n")[0]


def test_report_of_rows_without_a_seed_in_common(tmp_path):
    make_record("base", 0, 1, 0.4, tmp_path)
    make_record("ours", 1, 2, 0.1, tmp_path)
    report(tmp_path, tmp_path / "table", baseline="base")
    text = (tmp_path / "table.md").read_text()
    assert "| ours |" in text and "against base" not in text and "p bootstrap" not in text


def test_report_of_rows_that_were_scored_otherwise(tmp_path, monkeypatch):
    """Rows have no bins, or other bins, or one more test set than the baseline."""
    few = partial(significance.PairedTest, n_samples=10)  # the p-values are not checked here
    monkeypatch.setattr(significance, "PairedTest", few)
    base = make_record("base", 0, 1, 0.4, tmp_path)
    make_record("plain", 1, 1, 0.1, tmp_path, bins=False)
    other = make_record("other", 2, 1, 0.2, tmp_path)
    other.tests["more"] = dict(other.tests["test"])
    other.tests["test"]["bins"][0]["words"] = "<=4"
    references_path(tmp_path, "en-de", "more").write_bytes(
        references_path(tmp_path, "en-de", "test").read_bytes()
    )
    other.write(tmp_path)
    report(tmp_path, tmp_path / "table", baseline="base")
    text = (tmp_path / "table.md").read_text()
    lengths = text.split("| test: source words |")[1].split("\n\n")[0]
    assert "≤4 (" in lengths.split("\n")[0] and "| plain" not in lengths
    row = next(line for line in lengths.split("\n") if line.startswith("| other: BLEU"))
    bleu = base.bins("test")  # the same bins except for the first
    assert row.split("|")[2].strip() == "" and len(row.split("|")) == len(bleu) + 4
    assert "| more | other" not in text


def test_the_process_that_waits_for_gpus_is_not_the_machine(tmp_path):
    """fairseq starts a process per GPU; the one that starts them uses none, and ends last."""
    machines = ["NVIDIA H100, torch 2.6.0", "x86_64 CPU, 8 threads, torch 2.6.0"]
    log = "".join(f"2026 | INFO | fairseq_floater.training.cost | machine: {m}\n" for m in machines)
    (tmp_path / "train.log").write_text(log)
    assert read_training(tmp_path / "train.log") == {"machine": machines[0]}


def test_a_diverged_training_is_read(tmp_path):
    line = (
        "| valid | epoch 001 | valid on 'valid' subset | loss {0} | nll_loss {0} | num_updates {1}"
    )
    log = ["code: 0a1b, preloaded: nothing", line.format("7.5", 4), line.format("nan", 5)]
    (tmp_path / "train.log").write_text("\n".join([*log, log[0]]))
    assert read_training(tmp_path / "train.log") == {
        "updates": 5,
        "validations": 2,
        "valid_nll_loss": 7.5,
        "valid_nll_losses": {"4": 7.5},
        "code": ["0a1b, preloaded: nothing"],
    }
    half = line.format("1.25", 6).partition("5")[0]  # a full disk cuts a line off anywhere
    for end in ("", "code: 0a1b, preloaded: nothing", "\ncode: 0a1b, preloaded: nothing"):
        (tmp_path / "train.log").write_text(f"{line.format('7.5', 4)}\n{half}{end}")
        found = read_training(tmp_path / "train.log")
        assert found["validations"] == 1 and found["valid_nll_losses"] == {"4": 7.5}
    (tmp_path / "train.log").write_text(line.format("nan", 5))
    assert "valid_nll_loss" not in read_training(tmp_path / "train.log")


def test_only_a_line_feed_ends_a_line(tmp_path):
    (tmp_path / "lines").write_bytes("a\rb\u2028c\r\nd\n".encode())
    assert read_lines(tmp_path / "lines") == ["a\rb\u2028c\r", "d"]


def test_report_refuses_other_references(tmp_path):
    """The test set was prepared again after a row had been scored."""
    make_record("base", 0, 1, 0.4, tmp_path)
    make_record("ours", 1, 1, 0.1, tmp_path)
    path = references_path(tmp_path, "en-de", "test")
    lines = path.read_text().split("\n")
    for changed in (["other", *lines[1:]], lines[1:]):
        path.write_text("\n".join(changed))
        with pytest.raises(UserError, match="base.seed1 was scored against other references of t"):
            report(tmp_path, tmp_path / "table", baseline="base")


def test_markdown():
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_language_pairs_have_an_average_and_test_sets_of_one_pair_do_not(tmp_path):
    tests = {"short": {"bleu": 30.0}, "long": {"bleu": 21.0}}
    Record("table", "en-de", "base", 0, 1, {}, tests, {}).write(tmp_path)
    report(tmp_path, tmp_path / "table")
    assert "| base \\* | 30.0 | 21.0 |\n" in (tmp_path / "table.md").read_text()
    Record("table", "en-fr", "base", 0, 1, {}, {"short": {"bleu": 45.0}}, {}).write(tmp_path)
    report(tmp_path, tmp_path / "table")
    assert "| base \\* | 30.0 | 21.0 | 45.0 | 32.00 |\n" in (tmp_path / "table.md").read_text()
