"""Models on a device other than the CPU compute its values and, in training, add no waits."""

import json

import pytest
from conftest import WITHIN
from launching import run
from places import TESTS

#: those of ``WITHIN`` that differ in what they compute, and others with computations of their own
MODELS = {
    **{
        name: WITHIN[name]
        for name in (
            *("shaw", "alibi learned", "fire", "fourier", "floater rotation", "floater scores"),
            *("floater on rotary", "floater in cross-attention on relative bias"),
            "shifted, scaled",
        )
    },
    "driven": {"dynamics": "driven"},
    "mlp, added": {
        "dynamics": "mlp",
        "position_injection": "additive",
        "ode_steps_per_position": "1/4",
    },
    "learned": {"position_encoder": "learned", "position_injection": "bias"},
    "recurrent": {"position_encoder": "rnn", "position_injection": "bias"},
}
STOCK = "fairseq's own"


@pytest.fixture(scope="module")
def results():
    """What elsewhere.py prints about each model, by the name of the model."""
    done = run(TESTS / "elsewhere.py", input=json.dumps({STOCK: None, **MODELS}))
    assert done.returncode == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_the_cpu_and_no_wait_is_added(name, results):
    for compute in ("trained", "decoded", "exported"):
        difference, waits = results[name][compute]
        assert difference < 1e-4
        assert not {"_to_copy", "copy_"} & set(waits)
    # In decoding, fairseq reads values at every step, so only copies are checked there.
    assert results[name]["trained"][1] == results[STOCK]["trained"][1]
