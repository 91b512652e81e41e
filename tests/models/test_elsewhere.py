"""Models on a device other than the CPU compute its values and, in training, add no waits."""

import json

import pytest
from conftest import WITHIN
from launching import run
from places import TESTS

#: those of ``WITHIN``, and others with computations of their own
MODELS = {
    **WITHIN,
    "default": {},
    "driven": {"dynamics": "driven"},
    "mlp, a step over four": {"dynamics": "mlp", "ode_steps_per_position": "1/4"},
    "mlp, added": {"dynamics": "mlp", "position_injection": "additive"},
    "learned": {"position_encoder": "learned", "position_injection": "bias"},
    "recurrent, added": {"position_encoder": "rnn", "position_injection": "additive"},
    "none": {"position_encoder": "none"},
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
