"""Records of runs: what comes back, and what is none."""

import json

import pytest
from launching import run

from fairseq_floater.errors import UserError
from fairseq_floater.results.record import Record, read_records


@pytest.fixture
def record(tmp_path):
    """A record that has been written to the folder."""
    scores = {"test": {"bleu": 31.25, "references": "0a", "bins": [{"words": "<= 5"}]}}
    found = Record("table", "en-de", "ours", 0, 1, {"position_delta": 0.1}, scores, {"bleu": "lc"})
    found.training, found.position_parameters = {"updates": 10}, {"base": 0}
    found.write(tmp_path)
    return found


def test_records_come_back_as_they_were_written(record, tmp_path):
    assert read_records(tmp_path) == [record]


def test_a_report_needs_results_and_a_known_baseline(record, tmp_path):
    to = ["--out", tmp_path / "t"]
    assert "no results (*.json)" in run("floater", "report", tmp_path / "none", *to).err
    done = run("floater", "report", tmp_path, *to, "--baseline", "base")
    assert done.returncode == 1 and "choose from ours" in done.err
    for out in (".", "..", "/", ""):
        done = run("floater", "report", tmp_path, "--out", out)
        assert done.returncode == 1 and "names no file: give a path such as" in done.err


def test_a_copy_of_a_record_is_no_further_seed(record, tmp_path):
    text = (tmp_path / f"{record.name}.json").read_text()
    (tmp_path / f"{record.name}.old.json").write_text(text)
    with pytest.raises(UserError, match="ours.seed1.old.json is a result of en-de.ours.seed1: "):
        read_records(tmp_path)


def test_what_has_none_of_a_records_fields_is_named(record, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match="other.json is not a result of floater score"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"tests": None}, "its tests is None, not of type dict"),
        ({"tests": {"test": 31.25}}, "for test it has 31.25, not scores"),
        ({"tests": {"test": {"bleu": float("nan")}}}, "for test its bleu is nan"),
        ({"order": "x"}, "its order is 'x', not of type int"),
        ({"training": []}, "its training is .*, not of type dict"),
        ({"colour": 1}, "unexpected keyword argument 'colour'"),
    ],
)
def test_what_is_no_record_is_named(record, tmp_path, changes, why):
    path = tmp_path / f"{record.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=rf"ours.seed1.json is not a result of .*\(.*{why}.*\)"):
        read_records(tmp_path)
