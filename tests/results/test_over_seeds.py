"""Rows against a baseline over seeds."""

import pytest
from scipy.stats import ttest_rel

from fairseq_floater.results.over_seeds import compared, holm
from fairseq_floater.results.record import Record


def with_bleu(row, seed, bleu, bins):
    scored = [{"words": words, "sentences": 5, "bleu": value} for words, value in bins.items()]
    tests = {"test": {"bleu": bleu, "bins": scored}}
    return Record("table", "en-de", row, 0, seed, {}, tests, {})


def test_differences_over_seeds_are_paired_and_corrected():
    """p is that of a paired t-test, with Holm's correction by hand, for two columns of two rows."""
    base = [with_bleu("base", n, 20.0 + n, {"<= 5": 10.0 + n}) for n in (1, 2, 3, 4)]
    near = [(1, 21.4, 11.3), (2, 22.1, 12.9), (3, 23.5, 13.2)]
    far = [(1, 25.0, 11.5), (2, 26.2, 12.0), (3, 26.9, 13.3), (5, 90.0, 90.0)]
    rows = {
        "base": base,
        "near": [with_bleu("near", n, all, {"<= 5": few}) for n, all, few in near],
        "far": [with_bleu("far", n, all, {"<= 5": few}) for n, all, few in far],
        "two": [with_bleu("two", n, 50.0, {"<= 5": 50.0}) for n in (1, 2)],
    }
    names, body = compared(rows, "base", "test")
    assert names == ["all", "<= 5"] and [line[0] for line in body] == ["near", "far"]
    tests = [ttest_rel([line[2] for line in of[:3]], [11.0, 12.0, 13.0]) for of in (near, far)]
    least, most = sorted(float(test.pvalue) for test in tests)
    corrected = {least: 2 * least, most: max(2 * least, most)}  # "all" repeats the bin: it has no p
    for line, test in zip(body, tests):
        low, high = test.confidence_interval(0.95)
        interval, p = f"[{low:+.1f}, {high:+.1f}]", min(1.0, corrected[float(test.pvalue)])
        assert line[2].endswith(f"{interval} (p {p:.3f})") and "p" not in line[1]
    assert body[1][1].startswith("+4.0 ± 0.2 [") and [line[3] for line in body] == ["3", "3"]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
