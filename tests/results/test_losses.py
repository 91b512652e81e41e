"""A table of losses, for records that have no tests."""

from fairseq_floater import cli
from fairseq_floater.results.record import Record


def test_a_folder_without_tests_is_a_table_of_losses(tmp_path):
    """It has the last and the lowest loss of each row, and lists a row without any."""
    trained = {"head": {"100": 6.0, "300": 5.0}, "floater": {"100": 4.5, "300": 4.75}, "none": {}}
    for order, (row, losses) in enumerate(trained.items()):
        training = {"updates": 300, "valid_nll_losses": losses}
        Record("stage1", "brown", row, order, 1, {}, {}, {}, training).write(tmp_path / "losses")
    command = ["report", tmp_path / "losses", "--out", tmp_path / "table"]
    assert cli.main([str(part) for part in command]) == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0] == "# stage1"
    assert "| brown | head | 300 | 5.000 | 5.000 | 1 |" in lines
    assert "| brown | floater | 300 | 4.750 | 4.500 | 1 |" in lines
    assert "| brown | none |  |  |  | 1 |" in lines


def test_it_is_no_part_of_a_table_of_translations(tmp_path, capsys):
    Record("stage1", "brown", "head", 0, 1, {}, {}, {}).write(tmp_path / "losses")
    tests = {"test": {"bleu": 20.0}}
    Record("table", "en-de", "head", 0, 1, {}, tests, {}).write(tmp_path / "scores")
    folders = [tmp_path / "scores", tmp_path / "losses"]
    assert cli.main(["report", *map(str, folders), "--out", str(tmp_path / "table")]) == 1
    assert "losses has no translations: report it apart" in capsys.readouterr().err
    Record("table", "en-de", "tail", 0, 1, {}, {}, {}).write(tmp_path / "scores")
    assert cli.main(["report", str(folders[0]), "--out", str(tmp_path / "table")]) == 1
    assert "en-de.tail.seed1 has no tests, but others" in capsys.readouterr().err
