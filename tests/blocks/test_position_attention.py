"""``--position-attention``: which attentions get biases."""

import pytest
import torch
from conftest import make_batch, make_model
from fairseq.modules import MultiheadAttention

from fairseq_floater.blocks.attention import PositionedAttention

#: the tracks of each attention, among the six of a decoder block
SELF, CROSS = [0, 1, 2], [3, 4, 5]


def rows_of(model, tracks):
    """Return the rows of the decoder's initial values that belong to ``tracks``, in all blocks."""
    count = len(model.decoder.layers)
    return [6 * block + track for block in range(count) for track in tracks]


@pytest.mark.parametrize("encoder", ["floater", "learned"])
@pytest.mark.parametrize("chosen, kept", [("self", SELF), ("cross", CROSS)])
def test_it_is_the_whole_model_with_the_other_tracks_zero(chosen, kept, encoder):
    """This holds because oscillators at zero stay at zero."""
    options = {"position_encoder": encoder, "position_injection": "bias", "seed": 2}
    both = make_model(**options, lively=False)
    some = make_model(**options, lively=False, position_attention=chosen)
    name = "initial" if encoder == "floater" else "table"
    with torch.no_grad():
        for stack in both.stacks().values():
            getattr(stack.position_encoder, name).normal_()
        other = CROSS if chosen == "self" else SELF
        getattr(both.decoder.position_encoder, name)[rows_of(both, other)] = 0.0
        weights = both.state_dict()
        if chosen == "cross":
            getattr(both.encoder.position_encoder, name).zero_()
    tracks = f"decoder.position_encoder.{name}"
    weights[tracks] = weights[tracks][rows_of(both, kept)]
    if chosen == "cross":  # the encoder has no cross-attention, and so no tracks
        weights = {n: w for n, w in weights.items() if "encoder.position_encoder" not in n[:24]}
        assert some.encoder.position_encoder is None
    some.load_state_dict(weights, strict=True)
    batch = make_batch()
    with torch.no_grad():
        torch.testing.assert_close(some(**batch)[0], both(**batch)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("chosen", ["both", "self", "cross"])
def test_attentions_without_biases_stay_fairseqs_own(chosen):
    model = make_model(position_attention=chosen)
    layers = [*model.encoder.layers, *model.decoder.layers]
    for attention in (layer.self_attn for layer in layers):
        wanted = MultiheadAttention if chosen == "cross" else PositionedAttention
        assert type(attention) is wanted
    for layer in model.decoder.layers:
        wanted = MultiheadAttention if chosen == "self" else PositionedAttention
        assert type(layer.encoder_attn) is wanted


def test_positions_at_the_input_leave_attention_alone():
    for options in ({"position_encoder": "sinusoidal"}, {"position_injection": "additive"}):
        model = make_model(**options)
        found = {type(m) for m in model.modules() if isinstance(m, MultiheadAttention)}
        assert found == {MultiheadAttention}
