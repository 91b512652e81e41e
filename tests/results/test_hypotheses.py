"""Verdicts on hypotheses over seeds, against scipy and Holm's correction by hand."""

import re
import subprocess
from dataclasses import replace
from statistics import stdev

import pytest
from places import ROOT
from scipy.stats import ttest_rel

from fairseq_floater import cli
from fairseq_floater.errors import UserError
from fairseq_floater.results.hypotheses import decide, read_hypotheses
from fairseq_floater.results.over_seeds import p_of, require_alike, require_same_training
from fairseq_floater.results.record import Record
from fairseq_floater.results.report import report

SCORES = {
    "base": [20.0, 21.0, 22.0, 21.5],
    "better": [23.1, 24.2, 24.8, 24.6],
    "level": [20.3, 20.7, 22.1, 21.9],
    "worse": [17.0, 18.2, 18.8, 18.3],
    "two": [30.0, 31.0],
}
FILE = """\
# better than the base
seeds: 2 3 4 5
H1: better > base on test
H2: level > base on test, <= 5  # of one bin
H3: level > base - 0.5 on test
H4: worse > base - 0.5 on test
H5: worse > base on test
H6: two > base on test
H7: none > base on test
"""


def write_records(folder):
    """Write records of seeds 2 to 5, and of a seed 1 with other scores."""
    for row, values in SCORES.items():
        for seed, bleu in enumerate([50.0 - values[0], *values], 1):
            bins = [{"words": "<= 5", "sentences": 5, "bleu": bleu}]
            tests = {"test": {"bleu": bleu, "bins": bins}}
            Record("table", "en-de", row, 0, seed, {}, tests, {}).write(folder)


def test_each_is_decided(tmp_path):
    write_records(tmp_path)
    (tmp_path / "later.txt").write_text(FILE.replace("seeds: 2 3 4 5", "seeds: 2 3 4 5 6"))
    decide(tmp_path, tmp_path / "later.txt", tmp_path / "early")
    assert (tmp_path / "early.md").read_text().count("is open") == 7
    (tmp_path / "hypotheses.txt").write_text(FILE)
    command = ["report", tmp_path, "--out", tmp_path / "out"]
    command += ["--hypotheses", tmp_path / "hypotheses.txt"]
    assert cli.main([str(part) for part in command]) == 0
    text = (tmp_path / "out.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    lines = {line[0]: line[1:] for line in cells if line and re.fullmatch(r"H\d", line[0])}
    found = [ttest_rel(SCORES[row], SCORES["base"]) for row in ("better", "level", "worse")]
    better, level, worse = (test.pvalue for test in found)
    assert better < worse < level  # Holm's correction is over five, and two of them have no p
    corrected = {"H1": 5 * better, "H5": 4 * worse, "H2": 1.0}
    assert lines["H3"][4:6] == ["", ""]  # it has a margin
    for name, p in corrected.items():
        assert float(lines[name][5]) == pytest.approx(min(1.0, p), abs=1e-4)
    for name, test in zip(("H1", "H3", "H4"), found):
        low, high = test.confidence_interval(0.95)
        assert lines[name][3] == f"[{low:+.2f}, {high:+.2f}]"
    assert {name: line[-1] for name, line in lines.items()} == {
        "H1": "holds",
        "H2": "is not shown",
        "H3": "holds",
        "H4": "is the other way round",
        "H5": "is the other way round",
        "H6": "is open",
        "H7": "is open",
    }
    assert lines["H2"][0] == "level > base on test, ≤ 5" and lines["H6"][1] == "2"
    values = [a - b for a, b in zip(SCORES["better"], SCORES["base"])]
    low, high = found[0].confidence_interval(0.95)
    cell = f"{sum(values) / 4:+.1f} ± {stdev(values):.1f} [{low:+.1f}, {high:+.1f}]"
    assert f"| H1 test | {cell} |" in text and "| H2 test" not in text  # H2 is about a bin
    assert "| H6 test" not in text  # it has only two seeds
    assert "- seeds 2, 3, 4, 5; a hypothesis stays open if one of them is missing" in text


def verdicts(folder, rows, lines, seeds="2 3 4"):
    for row, values in rows.items():
        for seed, bleu in enumerate(values, 2):
            Record("t", "en-de", row, 0, seed, {}, {"test": {"bleu": bleu}}, {}).write(folder)
    (folder / "h.txt").write_text(f"seeds: {seeds}\n{lines}")
    decide(folder, folder / "h.txt", folder / "out")
    lines = (folder / "out.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {line[1]: line[-2] for line in cells if line[1:] and line[1].startswith("H")}


def test_it_is_the_corrected_p_that_decides(tmp_path):
    rows = {"base": [20.0] * 3, "near": [20.8, 21.2, 20.65], "level": [20.1, 19.8, 20.2]}
    assert 0.025 < ttest_rel(rows["near"], rows["base"]).pvalue < 0.05
    assert verdicts(tmp_path, rows, "H1: near > base on test\n") == {"H1": "holds"}
    both = "H1: near > base on test\nH2: level > base on test\n"
    assert verdicts(tmp_path, rows, both) == {"H1": "is not shown", "H2": "is not shown"}


def test_one_that_is_open_corrects_as_if_it_were_not_shown(tmp_path):
    """Its p so far must not help others, or their verdicts would change with its last seeds."""
    rows = {"base": [20.0] * 4, "near": [20.8, 21.2, 20.65, 20.4], "far": [29.0, 29.1, 29.2]}
    assert 0.05 / 3 < ttest_rel(rows["near"], rows["base"]).pvalue < 0.025
    lines = "H1: near > base on test\nH2: far > base on test\nH3: base > far on test\n"
    found = verdicts(tmp_path, rows, lines, "2 3 4 5")
    assert found == {"H1": "is not shown yet", "H2": "is open", "H3": "is open"}
    corrected = 3 * ttest_rel(rows["near"], rows["base"]).pvalue
    assert f"| {corrected:.4f} |" in (tmp_path / "out.md").read_text()


def test_a_row_that_equals_its_baseline_is_not_open(tmp_path):
    """It has all seeds, so no verdict waits for it."""
    rows = {"base": [20.0] * 3, "near": [20.8, 21.2, 20.65], "same": [20.0] * 3}
    lines = "H1: near > base on test\nH2: same > base on test\n"
    assert verdicts(tmp_path, rows, lines) == {"H1": "is not shown", "H2": "is not shown"}


@pytest.mark.parametrize(
    "where, message",
    [
        ("tset", "the test set tset, for which en-de.base.seed2 has no scores: choose from test"),
        ("test, <=5", "the sentences <=5, for which .* has no scores: choose from all, <= 5"),
    ],
)
def test_what_has_no_scores_is_named(where, message, tmp_path):
    write_records(tmp_path)
    (tmp_path / "h.txt").write_text(f"seeds: 2 3 4 5\nH1: base > later on {where}\n")
    with pytest.raises(UserError, match=f"H1 is about {message}"):
        decide(tmp_path, tmp_path / "h.txt", tmp_path / "out")


def test_it_is_the_interval_that_keeps_a_margin(tmp_path):
    rows = {"base": [20.0] * 3, "wide": [21.0, 19.0, 20.1], "low": [20.0, 19.0, 19.2]}
    lines = "H1: wide > base - 0.5 on test\nH2: low > base - 0.5 on test\n"
    assert verdicts(tmp_path, rows, lines) == {"H1": "is not shown", "H2": "is not shown"}


def test_differences_that_are_all_the_same_have_no_p():
    assert p_of([0.5, 0.5, 0.5]) is None and p_of([0.5, 0.5, 0.6]) is not None


def test_names_are_given_once(tmp_path):
    path = tmp_path / "hypotheses.txt"
    path.write_text("H1: a > b on test\nH1: a > c on test\nseeds: 1 2 3\n")
    with pytest.raises(UserError, match="line 2: there is a H1 already"):
        read_hypotheses(path)


@pytest.mark.parametrize("line, count", [("", 0), ("seeds: 2 3", 2), ("seeds: 2 2 2", 1)])
def test_seeds_are_named(line, count, tmp_path):
    path = tmp_path / "hypotheses.txt"
    path.write_text(f"H1: a > b on test\n{line}\n")
    message = f"names {count} seeds, but at least 3 are needed: add a line"
    with pytest.raises(UserError, match=message):
        read_hypotheses(path)


@pytest.mark.parametrize(
    "line",
    ["seeds: few", "H1: a b on test", "H1: a > b", "a > b on test", "H: a > b - x on c"]
    + ["H: a > b - . on c", "H: a > b - 1.2.3 on c"],
)
def test_what_is_no_hypothesis_is_named(line, tmp_path):
    path = tmp_path / "hypotheses.txt"
    path.write_text(f"\n{line}\n")
    message = "line 2: .* is not a hypothesis: write NAME: ROW > BASELINE"
    with pytest.raises(UserError, match=message):
        read_hypotheses(path)


def test_seeds_are_said_once(tmp_path):
    path = tmp_path / "hypotheses.txt"
    path.write_text("seeds: 2 3 4\nseeds: 2 3 4 5\n")
    with pytest.raises(UserError, match="line 2: there are seeds already"):
        read_hypotheses(path)


def test_those_of_the_protocol_name_rows_that_there_are():
    """They also name only tests of their protocol."""
    command = ["bash", ROOT / "recipes/run.sh", "peers_bible_short", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {line.split()[0].rsplit("/", 1)[1] for line in done.stdout.splitlines()}
    seeds, known = read_hypotheses(ROOT / "recipes/hypotheses.txt")
    assert seeds == (2, 3, 4, 5, 6, 7)
    assert {name for one in known for name in (one.row, one.baseline)} <= rows
    assert {one.test for one in known} == {"test", "long"}
    assert {one.sentences for one in known} == {"all", "<= 30"}
    listed = {}
    for line in filter(None, (ROOT / "recipes/evidence.txt").read_text().splitlines()):
        target, *numbers = line.split()
        listed.setdefault(target, []).extend(numbers)
    for one in known:
        for row in (one.row, one.baseline):
            after_the_first = [n for n in listed[f"peers_bible_short/en-es/{row}"] if n != "1"]
            assert after_the_first == [*map(str, seeds)]


def test_seeds_of_other_commands_are_refused(tmp_path):
    train = "fairseq-train --lr 5e-3 --seed {0} --save-dir RUNS/a/seed{0} # corpus 0a, base {1}"
    base = ["0123456789abcdef", "fedcba9876543210"]
    records = [
        Record("table", "en-de", "a", 0, seed, {}, {}, {}, commands={"train": command})
        for seed, command in enumerate((train.format(n, base[n - 1]) for n in (1, 2)), 1)
    ]
    older = Record("table", "en-de", "a", 0, 3, {}, {}, {})
    require_same_training([*records, older])
    records[1].commands["train"] = records[1].commands["train"].replace("5e-3", "1e-3")
    other = {"updates": 900, "code": ["0a, preloaded: nothing"]}
    same = Record("table", "en-de", "a", 0, 1, {}, {}, {}, commands={"train": train.format(1, 0)})
    far = Record("table", "en-de", "a", 0, 2, {}, {}, {}, commands=same.commands, training=other)
    with pytest.raises(UserError, match="the number of updates had unknown, then 900"):
        require_same_training([same, far])
    near = Record(
        "table", "en-de", "a", 0, 3, {}, {}, {}, training={"code": ["b, preloaded: x.so"]}
    )
    with pytest.raises(UserError, match="the library that was preloaded had nothing, then x.so"):
        require_same_training([far, near])
    both = ["b, preloaded: y.so", "b, preloaded: x.so", "b, preloaded: x.so"]
    gone_on = Record("table", "en-de", "a", 0, 5, {}, {}, {}, training={"code": both})
    with pytest.raises(UserError, match="had x.so, then y.so"):
        require_same_training([near, gone_on])
    on_two = "torchrun --nproc_per_node 2 /a/b/" + same.commands["train"]
    require_same_training(
        [same, Record("table", "en-de", "a", 0, 4, *[{}] * 3, commands={"train": on_two})]
    )
    for record in records:
        record.write(tmp_path)
    (tmp_path / "hypotheses.txt").write_text("seeds: 1 2 3\nH1: a > b on test\n")
    for fails in (
        lambda: report(tmp_path, tmp_path / "out"),
        lambda: decide(tmp_path, tmp_path / "hypotheses.txt", tmp_path / "out"),
    ):
        with pytest.raises(
            UserError, match="a.seed1 and en-de.a.seed2 are not .* had 5e-3, then 1e"
        ):
            fails()


def test_scores_against_other_references_are_not_compared():
    records = [
        Record("table", pair, row, 0, seed, {}, {"t": {"references": digest}}, {})
        for pair, row, seed, digest in (
            *(("en-de", "a", 1, "0a"), ("en-de", "a", 2, "0a"), ("en-de", "b", 1, "0a")),
            *(("en-fr", "a", 1, "0f"), ("en-de", "b", 2, "0b")),
        )
    ]
    older = Record("table", "en-de", "b", 0, 3, {}, {"t": {}}, {})
    require_same_training([*records[:-1], older])
    message = "en-de.a.seed1 and en-de.b.seed2 were scored against different references "
    message += r"\(texts, labels or answers\) of t: "
    with pytest.raises(UserError, match=message):
        require_same_training(records)


def test_scores_of_other_signatures_are_not_compared():
    """But versions of sacreBLEU may differ."""
    signs = [f"nrefs:1|case:{more}" for more in ("lc|version:2.5.1", "lc|version:2.6", "mixed")]
    records = [
        Record("table", "en-de", row, 0, 1, {}, {}, {"bleu": sign})
        for row, sign in zip("abc", signs)
    ]
    require_same_training(records[:2])
    with pytest.raises(UserError, match="bleu is nrefs:1.case:lc, then nrefs:1.case:mixed: score"):
        require_same_training(records)


def test_trainings_that_end_by_themselves_may_differ_in_length():
    def of(seed, updates, duration, row="a"):
        commands = {"train": f"fairseq-train --seed {seed} # corpus 0a", "duration": duration}
        training = {"updates": updates}
        return Record("table", "en-de", row, 0, seed, *[{}] * 3, training, commands=commands)

    patient = "--max-update 9000 --patience 10"
    require_same_training([of(1, 3648, patient), of(2, 3776, patient)])
    require_alike([of(1, 3648, patient), of(1, 2880, patient, "b")])
    with pytest.raises(UserError, match="the number of updates had 900, then 800"):
        require_same_training([of(1, 900, "--max-update 900"), of(2, 800, "--max-update 900")])
    with pytest.raises(UserError, match="duration had 900, then 800"):
        require_same_training([of(1, 800, "--max-update 900"), of(2, 800, "--max-update 800")])


def test_rows_that_were_not_trained_alike_are_not_compared(tmp_path):
    ours, theirs = (
        Record("table", "en-de", row, 0, 2, *[{}] * 3, commands={"train": f"x # corpus {corpus}"})
        for row, corpus in (("a", "0a"), ("b", "0b"))
    )
    require_alike([ours])
    with pytest.raises(UserError, match="a.seed2 and .*b.seed2 .*: the corpus was 0a, then 0b"):
        require_alike([ours, theirs])
    for row, record in (("a", ours), ("b", theirs)):  # a table says so
        scored = {"test": {"bleu": 20.0, "hypotheses": []}}
        signed = replace(record, tests=scored, signatures={"bleu": "case:lc"})
        replace(signed, seed=2 + (row == "b")).write(tmp_path)
    (tmp_path / "en-de.test.ref").touch()
    report(tmp_path, tmp_path / "out", "a")
    page = (tmp_path / "out.md").read_text()
    assert "- not all rows were trained alike: " in page and "the corpus was 0a, then 0b" in page
    theirs.commands, theirs.training = ours.commands, {"updates": 900}
    with pytest.raises(UserError, match="the number of updates was unknown, then 900"):
        require_alike([ours, theirs])
