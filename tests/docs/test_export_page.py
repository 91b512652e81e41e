"""The page on exports: its example runs, and its table says what the program does."""

import json
import re

import pytest
from commands import GENERATION
from conftest import WITHIN, make_task
from launching import run, succeed
from places import ROOT
from saved import save_floater

from fairseq_floater.checkpoints.export.stock import export_stock
from fairseq_floater.checkpoints.export.to_ctranslate2 import why_not
from fairseq_floater.checkpoints.loading import load_translation_model
from fairseq_floater.errors import UserError

pytest_plugins = ["commands"]

PAGE = (ROOT / "docs" / "export.md").read_text()
INPUT = {"position_blocks": "input", "position_injection": "additive"}

#: one block per stack: graphs take time
ONE = {"encoder_layers": 1, "decoder_layers": 1}

#: rows of the table, as options
ROWS = {
    "floater, biases (the default)": [{}],
    "floater, additive at the input": [INPUT],
    "floater, additive at all blocks": [{"position_injection": "additive"}],
    "floater as rotation or scores": [{"position_injection": n} for n in ("rotation", "scores")],
    "floater on rotary or another base": [WITHIN["floater on rotary"]],
    "rnn or learned, additive at the input": [
        {"position_encoder": name, **INPUT} for name in ("rnn", "learned")
    ],
    "sinusoidal at the input": [{"position_encoder": "sinusoidal", "position_blocks": "input"}],
    "none": [{"position_encoder": "none"}],
    "rotary": [{"position_encoder": "rotary"}],
    "rotary, also in cross-attention": [
        {"position_encoder": "rotary", "position_attention": "both"}
    ],
    "relative-bias": [{"position_encoder": "relative-bias"}],
    "shaw": [{"position_encoder": "shaw"}],
    "shaw, vectors for each head": [{"position_encoder": "shaw", "shaw_per_head": True}],
    "alibi": [{"position_encoder": "alibi"}],
    "fire": [{"position_encoder": "fire"}],
    "fourier, biases": [{"position_encoder": "fourier"}],
}


def table(page=PAGE):
    """Return what each cell says, by row and then by target."""
    lines = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|") and "---" not in line
    ]
    return {row[0]: dict(zip(lines[0][1:], row[1:])) for row in lines[1:]}


#: rows of the table that have other names in the results of translating
TRANSLATED = {
    "floater, biases (the default)": ["floater, biases", "floater, biases, `mlp"],
    "floater as rotation or scores": ["floater as rotation", "floater as scores"],
    "floater on rotary or another base": ["floater on rotary"],
    "rnn or learned, additive at the input": [
        "rnn, additive at the input",
        "learned, additive at the input",
    ],
}
PROGRAMS = {
    "fairseq": "stock fairseq",
    "ctranslate2": "CTranslate2",
    "huggingface": "transformers",
    "onnx": "ONNX Runtime, greedy",
    "torch": "torch program, greedy",
}


@pytest.mark.parametrize("row", ROWS)
def test_every_yes_has_translated(row):
    """In recipes/benchmarks/exported_kinds.py, which refuses exactly where the page says no."""
    found = table((ROOT / "recipes/results/exported_kinds.md").read_text())
    for name in TRANSLATED.get(row, [row]):
        for target, program in PROGRAMS.items():
            assert (found[name][program] == "-") == (table()[row][target] == "no")


def test_the_table_has_every_row():
    others = {
        "*decodes step by step, with a cache*",
        "*takes inputs longer than `--positions`*",
    }
    assert set(table()) == set(ROWS) | others


def taken(options, folder):
    """Return whether CTranslate2 and fairseq take a model with these positions, yes or no."""
    checkpoint = save_floater(folder / "model.pt", **options, **ONE)
    found = ["yes" if why_not(load_translation_model(checkpoint).config) is None else "no"]
    try:
        export_stock(checkpoint, folder / "stock.pt")
        return [*found, "yes"]
    except UserError as error:
        # This checkpoint lacks the task of a real one, but its positions may have been accepted.
        return [*found, "no" if "has no place for these" in str(error) else "yes"]


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"position_encoder": "fourier", **INPUT}, ["yes", "yes"]),
        ({"position_encoder": "rnn"}, ["no", "no"]),
        ({"position_encoder": "learned"}, ["no", "no"]),
        ({"position_encoder": "sinusoidal"}, ["no", "no"]),
        ({"position_encoder": "none", "attention_log_scale": 6.0}, ["no", "no"]),
        ({"position_encoder": "learned", "position_shift": 5, **INPUT}, ["yes", "no"]),
        ({"position_encoder": "rotary", "keep_input_positions": True}, ["no", "no"]),
        ({"position_encoder": "relative-bias", "position_blocks": "input"}, ["no", "no"]),
    ],
    ids=str,
)
def test_what_the_page_says_of_other_models(options, wanted, tmp_path):
    assert taken(options, tmp_path) == wanted


@pytest.mark.parametrize("row", ROWS)
def test_a_no_is_refused_and_a_yes_is_not(row, tmp_path):
    """(That a yes computes the same is checked by each target's tests, which have these kinds.)"""
    for options in ROWS[row]:
        wanted = [table()[row][target] for target in ("ctranslate2", "fairseq")]
        assert taken(options, tmp_path) == wanted
    assert all(table()[row][target] == "yes" for target in ("huggingface", "onnx", "torch"))


def test_greedy_decoding_in_onnx_runtime(corpus, tmp_path):
    (code,) = [
        code for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S) if "onnx" in code
    ]
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    data = tmp_path / "data"
    data.mkdir()
    (data / "bin").symlink_to(corpus)
    (data / "corpus.json").write_text(json.dumps({"source": "de", "target": "en"}))
    checkpoint, folder = tmp_path / "model.pt", tmp_path / "graphs"
    save_floater(checkpoint, task=make_task(20), base_positions="rotary", **ONE)
    succeed("floater", "export", checkpoint, folder, "--to", "onnx", "--data", data)
    short = ["--to", "onnx", "--data", data, "--positions", 4]
    done = run("floater", "export", checkpoint, tmp_path / "short", *short)
    assert "ask for at least --positions 5" in done.last_error_line
    for graph in folder.glob("*.onnx"):
        assert b".py" not in graph.read_bytes()  # no source lines of this machine
    search = ["--path", checkpoint, "--beam", 1, "--max-len-a", 0, "--max-len-b", 20]
    generated = succeed("generate", corpus, *GENERATION, *search)
    names = {}
    exec(compile(code, "example", "exec"), names)
    sources = [text for _, text in sorted(generated.lines("S").items())]
    found = names["Greedy"](folder)(sources, longest=20)
    wanted = [text for _, (_, text) in sorted(generated.hypotheses().items())]
    assert found == wanted and len(found) == 12
