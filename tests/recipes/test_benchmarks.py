"""Benchmarks of the paper's equation, in small: they print a table, whatever it says."""

import importlib
import sys

import pytest
from places import ROOT

SMALL = {
    "solver": ["--dims", "4", "--positions", "4", "--tracks", "2", "--repeats", "1"],
    "dynamics": ["--dim", "4", "--tracks", "2"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_its_table(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "recipes/benchmarks"))
    program = importlib.import_module(name)
    monkeypatch.setattr(program, "POSITIONS", (0, 4), raising=False)
    monkeypatch.setattr(sys, "argv", [name, *SMALL[name]])
    assert program.main() == 0
    head, *rows = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "|"]
    assert len(rows) > 3 and {line.count("|") for line in rows} == {head.count("|")}
