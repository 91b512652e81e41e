"""Models whose linear layers torch quantises for a CPU."""

import pytest
import torch
from conftest import WITHIN, make_batch, make_model
from fairseq.modules.quantization.scalar import quantize_model_

from fairseq_floater.ode.layers import Linear

# (Stock fairseq's attention reads the biases of its projections and cannot be quantised. Nor can
# the models that have it: those with positions that are added to the input, or without positions.)
KINDS = {
    **{name: options for name, options in WITHIN.items() if "sinusoidal" not in name},
    "floater": {},
    "mlp": {"dynamics": "mlp"},
    "driven": {"position_injection": "rotation", "dynamics": "driven"},
    "rnn": {"position_encoder": "rnn", "position_injection": "bias"},
}


def position_layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


@pytest.mark.filterwarnings("ignore")  # torch.ao is being replaced by a separate package
@pytest.mark.parametrize("kind", KINDS)
def test_what_computes_positions_stays_as_it_is(kind):
    model, batch = make_model(**KINDS[kind]), make_batch()
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    assert not isinstance(quantised.decoder.layers[0].fc1, torch.nn.Linear)
    assert position_layers(quantised).keys() == position_layers(model).keys()
    with torch.no_grad():
        wanted, found = model(**batch)[0], quantised(**batch)[0]
    assert 0 < (found - wanted).abs().max() < 0.1 * wanted.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_quantisation_leaves_what_computes_positions(kind):
    """It is added as --quant-noise-scalar does; the noise itself needs a GPU."""
    model = make_model(**KINDS[kind])
    before = position_layers(model)
    quantize_model_(model, p=0.1, bits=8, update_step=1000)
    assert position_layers(model) == before
    assert type(model.decoder.layers[0].fc1).__name__ == "IntLinear"
