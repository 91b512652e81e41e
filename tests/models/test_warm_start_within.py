"""Trained models continue with positions within attention, or from these with FLOATER's."""

import copy
import re

import pytest
import torch
from conftest import make_batch, make_model, make_stock
from test_warm_start import LEARNED_BASE, remembered

from fairseq_floater.errors import UserError
from fairseq_floater.models.warm_start import Weights

PEER = {"position_encoder": "shaw", "shaw_max_distance": 3, "shaw_values": True}
ALIBI = {"position_encoder": "alibi", "alibi_form": "symmetric"}
T5 = {"position_encoder": "relative-bias"}
GOES_ON = {
    "floater on rotary": ({"position_encoder": "rotary"}, {"base_positions": "rotary"}),
    "floater across on shaw": (PEER, {"base_positions": "shaw", "position_attention": "cross"}),
    "fourier on relative bias": (
        T5,
        {"position_encoder": "fourier", "base_positions": "relative-bias"},
    ),
    "floater on fire beside the input": (
        {"position_encoder": "fire", "keep_input_positions": True},
        {"base_positions": "fire", "keep_input_positions": True},
    ),
    "floater on alibi of learned slopes": (
        {"position_encoder": "alibi", "alibi_form": "learned"},
        {"base_positions": "alibi", "alibi_form": "learned"},
    ),
    "floater rotation from rotary": (
        {"position_encoder": "rotary"},
        {"position_injection": "rotation"},
    ),
    "floater scores from alibi": (ALIBI, {"position_injection": "scores"}),
    "floater at the input kept on rotary": (
        {"position_encoder": "rotary", "keep_input_positions": True},
        {"base_positions": "rotary", "keep_input_positions": True},
    ),
    "floater on our learned table": (
        {"position_encoder": "learned", "position_blocks": "input"},
        {"base_positions": "learned"},
    ),
    "shaw beside sinusoids": (
        {"position_encoder": "sinusoidal", "position_blocks": "input"},
        {**PEER, "keep_input_positions": True},
    ),
}


@pytest.mark.parametrize("name", GOES_ON)
def test_goes_on_from_positions_within_attention(name):
    """No logit changes, and weights of a model of the same kind load as they are."""
    base, options = GOES_ON[name]
    options = {**{k: v for k, v in base.items() if k.startswith(("shaw", "alibi"))}, **options}
    theirs, ours = make_model(seed=3, **base), make_model(seed=5, lively=False, **options)
    ours.load_state_dict(Weights.of(theirs.state_dict(), "peer.pt", theirs.options))
    batch = make_batch(lengths=(20, 9, 3), target_lengths=(17, 4, 6))
    with torch.no_grad():
        torch.testing.assert_close(ours(**batch)[0], theirs(**batch)[0], atol=1e-5, rtol=0)
    again = make_model(seed=6, **options)
    again.load_state_dict(Weights.of(ours.state_dict(), "own.pt", ours.options))
    for key, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
@pytest.mark.parametrize("learned", [True, False], ids=["learned", "sinusoidal"])
@pytest.mark.parametrize("kind", ["rotary", "relative-bias", "alibi", "shaw", "fire"])
def test_every_peer_starts_from_a_trained_base_model(kind, keep, learned, caplog):
    """Its positions at the input are kept or dropped, as the log says."""
    base = LEARNED_BASE if learned else {}
    base_here = base if keep else {}
    stock = make_stock(seed=3, **base)
    options = {"position_encoder": kind, "keep_input_positions": keep, **base_here}
    ours = make_model(seed=5, lively=False, **options)
    ours.load_state_dict(remembered(stock, **base))
    where = "learned" if learned else "sinusoidal"
    said = f"starts with {kind}.*within attention; those at the input \\({where}\\) are "
    assert len(re.findall(said + ("kept" if keep else "dropped"), caplog.text)) == 2
    batch = make_batch()
    with torch.no_grad():
        difference = (stock(**batch)[0] - ours(**batch)[0]).abs().max()
    exact = keep and kind in ("relative-bias", "shaw", "fire")
    assert difference < 2e-6 if exact else difference > 1e-3


def test_nothing_is_said_of_a_model_of_which_nothing_is_known(caplog):
    """Equal models have equal keys, and rotary has no parameters to tell it from a base model."""
    here, there = (make_model(seed=seed, position_encoder="rotary") for seed in (3, 5))
    here.load_state_dict(there.state_dict())
    assert not caplog.records
    here.load_state_dict(make_stock(**LEARNED_BASE).state_dict())  # whose weights do tell
    assert caplog.text.count("those at the input (learned) are dropped") == 2


@pytest.mark.parametrize(
    "there, here, message",
    [
        (
            {"position_encoder": "rotary"},
            {"position_encoder": "alibi"},
            "has rotary, .* positions within attention, this one alibi, --alibi-form nonsymmetric",
        ),
        (
            {"position_encoder": "rotary", "rotary_base": 500.0},
            {},
            r"has rotary.* within attention, this one none \(--base-positions rotary, with",
        ),
        (
            {"position_encoder": "rotary", "position_attention": "both"},
            {},
            "in both attentions positions within attention, this one none; its decoder",
        ),
        (
            {"position_encoder": "sinusoidal", "position_blocks": "input"},
            {"base_positions": "fire", "freeze_base": True},
            "--freeze-base would freeze the encoder's new fire, .* at their initial values: "
            "train without it",
        ),
        (
            {"position_encoder": "rotary"},
            {"base_positions": "rotary", "rotary_base": 500.0},
            "--rotary-base 10000.0.* this one rotary, --rotary-base 500.0",
        ),
        (ALIBI, {"base_positions": "alibi"}, "--alibi-form symmetric .*--alibi-form nonsymmetric"),
        (
            {"base_positions": "rotary"},
            {"position_encoder": "rotary"},
            "encoder.position_encoder.initial has no place here",
        ),
        (
            {"position_encoder": "rotary", "keep_input_positions": True},
            {"base_positions": "rotary"},
            "its encoder has sinusoidal positions at the input, this one none",
        ),
        (
            {"position_encoder": "fire"},
            {"position_encoder": "fire", "fire_length": 8.0},
            "--fire-length is 512.0 there, 8.0 here",
        ),
        (
            {"position_injection": "rotation"},
            {"position_injection": "rotation", "rotary_layout": "halves"},
            "--rotary-layout is interleaved there, halves here",
        ),
        (
            {"position_injection": "scores"},
            {"position_injection": "scores", "scores_start": "zero"},
            "--scores-start is alibi there, zero here",
        ),
        (
            {"position_encoder": "sinusoidal"},
            {"position_injection": "additive"},
            "its encoder has sinusoidal at all blocks positions at the input, this one floater at",
        ),
        ({}, {"attention_log_scale": 6.0}, "--attention-log-scale is None there, 6.0 here"),
        ({}, {"position_attention": "self"}, "--position-attention is both there, self here"),
        ({}, {"dynamics": "mlp"}, "--dynamics is linear there, mlp here"),
    ],
)
def test_other_positions_within_attention_are_refused(there, here, message):
    theirs, ours = make_model(seed=3, **there), make_model(seed=5, **here)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(UserError, match=message) as error:
        ours.load_state_dict(Weights.of(theirs.state_dict(), "peer.pt", theirs.options))
    said = str(error.value).partition("nothing is loaded: ")[2].partition(" (")[0].split("; ")
    assert len(said) == len(set(said))
    assert all(torch.equal(before[name], w) for name, w in ours.state_dict().items())


@pytest.mark.parametrize(
    "options", [{"rotary_base": 20000}, {"position_delta": 1}, {"attention_log_scale": 4}], ids=str
)
def test_a_whole_number_is_the_same_as_a_fraction(options):
    """--model-overrides and hand-written options may have whole numbers."""
    rotary = {"base_positions": "rotary"}
    as_floats = {name: float(value) for name, value in options.items()}
    ours, again = (make_model(seed=seed, **rotary, **as_floats) for seed in (3, 4))
    again.load_state_dict(Weights.of(ours.state_dict(), "a.pt", {**ours.options, **options}))
    assert make_model(**rotary, **options).options == ours.options


@pytest.mark.parametrize("peer, form", [({"position_encoder": "rotary"}, "rotation"),
                                        (ALIBI, "scores")], ids=["rotation", "scores"])  # fmt: skip
def test_what_departs_from_a_peer_says_that_it_drops_the_input(peer, form, caplog):
    theirs = make_model(seed=3, **peer, keep_input_positions=True)
    weights = Weights.of(theirs.state_dict(), "peer.pt", theirs.options)
    make_model(seed=5, position_injection=form, keep_input_positions=True).load_state_dict(weights)
    assert not caplog.text
    make_model(seed=5, position_injection=form).load_state_dict(weights)
    assert caplog.text.count("those at the input (sinusoidal) are dropped") == 2


def test_another_shift_is_allowed_and_said(caplog):
    theirs = make_model(seed=3, position_shift=5)
    weights = Weights.of(theirs.state_dict(), "base.pt", theirs.options)
    make_model(seed=5, position_shift=5).load_state_dict(weights)
    assert not caplog.text
    make_model(seed=5).load_state_dict(weights)
    assert "--position-shift is 5 there, 0 here" in caplog.text


def test_another_pause_between_sentences_is_allowed_and_said(caplog):
    theirs = make_model(seed=3, position_times="sentences")
    weights = Weights.of(theirs.state_dict(), "base.pt", theirs.options)
    make_model(seed=5, position_times="sentences").load_state_dict(weights)
    assert not caplog.text
    make_model(seed=5, position_times="sentences", sentence_gap=0.0).load_state_dict(weights)
    assert "--sentence-gap is 1.0 there, 0.0 here" in caplog.text


@pytest.mark.parametrize("base", ["shaw", "relative-bias", "fire"])
def test_a_plain_state_dict_of_its_own_loads_as_it_is(base, caplog):
    """Also where the encoder has base positions and no others."""
    options = {"base_positions": base, "position_attention": "cross"}
    ours, again = make_model(seed=3, **options), make_model(seed=4, **options)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    for key, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not caplog.text
