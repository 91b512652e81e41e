"""Several experiments in one table."""

import pytest
from launching import run, succeed
from scipy.stats import ttest_rel
from test_over_seeds import with_bleu

from fairseq_floater.errors import UserError
from fairseq_floater.results.record import Record
from fairseq_floater.results.summary import summarise

BASE = {1: 20.0, 2: 21.0, 3: 20.5}
OURS = {1: 22.0, 2: 24.0, 3: 22.9, 4: 99.0}  # seed 4 has no counterpart


@pytest.fixture
def folders(tmp_path):
    """Three seeds of two rows with bins, and another experiment with one seed of one of them."""
    long, short = tmp_path / "long", tmp_path / "short"
    for folder in (long, short):
        folder.mkdir()
    for row, seeds in (("base", BASE), ("ours", OURS)):
        for seed, bleu in seeds.items():
            with_bleu(row, seed, bleu, {"<= 5": bleu, "> 5": bleu - 9}).write(long)
    with_bleu("base", 1, 30.0, {}).write(short)
    with_bleu("theirs", 1, 31.0, {}).write(short)
    return long, short


def test_methods_by_corpora(folders, tmp_path):
    summarise(folders, tmp_path / "all", baseline="base")
    lines = (tmp_path / "all.md").read_text().splitlines()
    header = "| long: en-de test | long: en-de test, > 5 words | short: en-de test |"
    assert f"| BLEU {header}" in lines
    assert "| base | 20.5 ± 0.5 | 11.5 ± 0.5 | 30.0 \\* |" in lines
    assert "| theirs |  |  | 31.0 \\* |" in lines  # and nothing is compared over one seed
    test = ttest_rel([OURS[n] for n in BASE], list(BASE.values()))
    low, high = test.confidence_interval(0.95)
    p = min(1.0, 2 * test.pvalue)  # two cells are tested
    cell = f"+2.5 ± 0.5 [{low:+.1f}, {high:+.1f}] (p {p:.3f})"
    assert f"| BLEU less base's {header}" in lines
    assert f"| ours | {cell} | {cell} |  |" in lines
    assert (tmp_path / "all.png").read_bytes()[1:4] == b"PNG"


def test_without_a_baseline_nothing_is_subtracted(folders, tmp_path):
    summarise(folders, tmp_path / "all", title="Everything")
    page = (tmp_path / "all.md").read_text()
    assert page.startswith("# Everything\n") and "less" not in page and "interval" not in page


def test_the_command(folders, tmp_path):
    succeed("floater", "report", *folders, "--out", tmp_path / "all", "--baseline", "base")
    assert (tmp_path / "all.md").is_file()
    labels = tmp_path / "labels"
    labels.mkdir()
    Record("glue", "rte", "base", 0, 1, {}, {"valid": {"accuracy": 0.5}}, {}).write(labels)
    done = run("floater", "report", folders[0], labels, "--out", tmp_path / "all")
    assert done.returncode == 1
    assert done.err.startswith(f"error: {labels} has no translations: report it apart from")
    assert done.err.count("\n") == 1


def test_some_seeds_alone(folders, tmp_path):
    report = ["floater", "report", "--out", tmp_path / "some", "--seeds"]
    succeed(*report, "2,4", folders[0])
    page = (tmp_path / "some.md").read_text()
    assert "| base \\* | 21.0 |" in page and "| ours \\* | 61.5 ± " in page
    done = run(*report, "7", *folders)
    assert done.err.strip() == (
        f"error: no results of seed 7 in {folders[0]}: give other --seeds, or none for all"
    )
    assert "invalid seeds value: 'x'" in run(*report, "x", *folders).err


def test_two_folders_of_one_name(folders, tmp_path):
    (tmp_path / "other").mkdir()
    again = folders[1].rename(tmp_path / "other" / "long")
    with pytest.raises(UserError, match=f"{folders[0]} is one of two folders called long: rename"):
        summarise([folders[0], again], tmp_path / "all")


def test_an_unknown_baseline(folders, tmp_path):
    with pytest.raises(UserError, match="other is not among the results: choose from base, ours"):
        summarise(folders, tmp_path / "all", baseline="other")
    assert not (tmp_path / "all.md").exists()
