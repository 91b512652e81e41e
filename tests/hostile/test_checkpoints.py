"""Any file gives the right output, or one line and nothing written, and runs no code."""

import contextlib
import io
import os
import random
import resource
import signal
import sys
from collections import Counter
from types import SimpleNamespace

import hostility
import pytest
import torch
from conftest import make_task
from damage import KINDS
from fairseq import checkpoint_utils
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from hostility import cases
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from saved import save_floater, save_stock

from fairseq_floater import cli, errors
from fairseq_floater.checkpoints.bake import bake

TINY = {
    **{"encoder_layers": 1, "decoder_layers": 1, "encoder_embed_dim": 8, "decoder_embed_dim": 8},
    **{"encoder_ffn_embed_dim": 8, "decoder_ffn_embed_dim": 8},
}
TOOLS = {
    "convert": ["convert", "{bad}", "{out}/o.pt"],
    "bake": ["bake", "{bad}", "--out", "{out}/o.pt", "--positions", "9"],
    "average": ["average", "{good}", "{bad}", "--out", "{out}/o.pt"],
    "export to fairseq": ["export", "{bad}", "{out}/o.pt", "--to", "fairseq", "--positions", "9"],
    "inspect": ["inspect", "{bad}", "--length", "4", "--json"],
    "heatmap": ["heatmap", "{bad}", "{out}/o.png", "--positions", "4"],
}
if hostility.wanted:  # it takes a second
    TOOLS["export to torch"] = ["export", "{bad}", "{out}/o.pt2", "--to", "torch"]

#: damage that may be harmless, if it is in bytes that nobody reads
BYTES = ("truncated", "flipped", "flipped in the directory", "overwritten", "packed again")
#: damage after which nothing can use the file
FATAL = ("another kind of file", "not finite", "code")

OURS = "ours.pt"

outcomes = Counter()


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    """Good checkpoints, and what the tools write for them."""
    folder = tmp_path_factory.mktemp("hostile")
    ours = {"position_injection": "additive", "position_blocks": "input", **TINY}
    save_floater(folder / "older.pt", **ours)
    bake(folder / "older.pt", folder / "older.pt", 9)
    state = checkpoint_utils.load_checkpoint_to_cpu(str(folder / "older.pt"))
    cfg = OmegaConf.to_container(state["cfg"], resolve=True, enum_to_str=True)
    torch.save({**state, "cfg": cfg, "args": None, "model": dict(state["model"])}, folder / OURS)
    save_stock(folder / "base.pt", **TINY)
    (folder / "out").mkdir()
    wanted = {}
    for tool in (*TOOLS, "load"):
        for name in names(tool):
            assert run(tool, folder / name, folder / name, folder / "out")[0] == 0
            wanted[tool, name] = written(folder / "out")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, limits[1]))
    yield SimpleNamespace(folder=folder, wanted=wanted)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    if hostility.wanted:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            for (kind, outcome), count in sorted(outcomes.items()):
                print(f"{kind:26} {outcome:10} {count:6}")


def names(tool):
    """Return the names of a tool's good checkpoints; those of ours come in two forms."""
    return ("base.pt",) if tool == "convert" else (OURS, "older.pt")


def written(out):
    """Return and remove what a tool has written: weights by name, a text, or a picture's size."""
    found = {}
    for path in out.iterdir():
        if path.suffix == ".txt":
            found[path.name] = path.read_text()
        elif path.suffix == ".pt":
            found |= torch.load(path, weights_only=False)["model"]
        else:  # of a program, whose archive holds more than weights, only that it is there
            found[path.name] = path.stat().st_size if path.suffix == ".png" else 1
        path.unlink()
    return found


def load(path):
    """Load a checkpoint as fairseq-generate does, and return the model."""
    words = make_task().source_dictionary
    task = TranslationTask(TranslationConfig(), words, words)
    return checkpoint_utils.load_model_ensemble([str(path)], task=task)[0][0]


def run(tool, bad, good, out):
    """Return exit code and standard error of a command, or of loading as fairseq-generate does.

    What a command prints is written to ``out``, and so is a model that was loaded.
    """
    printed, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(err):
        if tool != "load":
            arguments = [part.format(bad=bad, good=good, out=out) for part in TOOLS[tool]]
            code = cli.main(arguments)
            if code == 0 and tool == "inspect":
                (out / "printed.txt").write_text(printed.getvalue().replace(str(bad), "FILE"))
            return code, err.getvalue()
        try:
            torch.save({"model": load(bad).state_dict()}, out / "loaded.pt")
        except Exception as error:
            argv, sys.argv = sys.argv, ["fairseq-generate"]
            errors.showing_one_line(_unforeseen)(type(error), error, None)
            sys.argv = argv
            return 1, err.getvalue()
        return 0, err.getvalue()


def _unforeseen(kind, error, trace):
    raise error


@contextlib.contextmanager
def at_most(seconds):
    """Raise an error if this process takes more than so many seconds of processor time."""

    def ring(number, frame):
        raise AssertionError(f"takes more than {seconds} s")

    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value
        for name, value in wanted.items()
    )


@cases(150)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    tool=st.sampled_from([*TOOLS, "load"]),
    seed=st.integers(0, 2**64),
)
def test_right_or_one_line(place, kind, tool, seed):
    name, folder = random.Random(seed).choice(names(tool)), place.folder
    good, bad, out, marker = (folder / part for part in (name, "bad.pt", "out", "marker"))
    if kind == "other baked table" and tool == "convert":
        kind = "other weight"
    bad.write_bytes(KINDS[kind](good.read_bytes(), random.Random(seed), marker))
    with at_most(60):
        code, error = run(tool, bad, good, out)
    found = written(out)
    assert not marker.exists()
    if code:
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert "bad.pt" in error and len(error) < 1500 and not found
        assert sorted(os.listdir(folder)) == ["bad.pt", "base.pt", "older.pt", OURS, "out"]
    else:
        assert kind not in FATAL
        if kind in BYTES:
            assert same(found, place.wanted[tool, name])
    outcomes[kind, "one line" if code else "right"] += 1
