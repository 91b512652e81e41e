"""Small runs of the benchmarks, which print a table; its figures are not checked."""

import importlib
import sys

import pytest
from launching import succeed
from places import ROOT, TESTS

BENCHMARKS = ROOT / "recipes/benchmarks"

#: options for benchmarks of the paper's equation
SMALL = {
    "solver": ["--dims", "4", "--positions", "4", "--tracks", "2", "--repeats", "1"],
    "dynamics": ["--dim", "4", "--tracks", "2"],
}


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_its_table(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    program = importlib.import_module(name)
    monkeypatch.setattr(program, "POSITIONS", (0, 4), raising=False)
    monkeypatch.setattr(sys, "argv", [name, *SMALL[name]])
    assert program.main() == 0
    head, *rows = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "|"]
    assert len(rows) > 3 and {line.count("|") for line in rows} == {head.count("|")}


ONCE = ["--builds", "1", "--rounds", "1", "--sizes", "tiny", "--words", "9"]
VARIANTS = ["--variants", "fairseq's transformer", "floater, linear, `floater_cross_entropy`"]
ON_A_GPU = {
    "training": ["--tokens", "16", "--length", "4", "--bf16", *ONCE, *VARIANTS],
    "generate": ["--sentences", "2", "--source-length", "4", "--length", "3", *ONCE],
    "scaling": ["--positions", "4", "--tracks", "2", "--dim", "4", "--repeats", "1", "--out"],
}


@pytest.mark.parametrize("name", ON_A_GPU)
def test_a_benchmark_takes_the_time_of_a_gpu(name, tmp_path):
    """Or of a device that seems to be one (see pretended_gpu.py)."""
    small = [*ON_A_GPU[name], *([tmp_path] if name == "scaling" else [])]
    command = [BENCHMARKS / f"{name}.py", *small, "--device", "cuda"]
    out = succeed(TESTS / "pretended_gpu.py", *command).out
    head, *rows = [line for line in out.splitlines() if line[:1] == "|"]
    assert "elapsed time on pretended, torch" in out
    assert len(rows) > 2 and {line.count("|") for line in rows} == {head.count("|")}
