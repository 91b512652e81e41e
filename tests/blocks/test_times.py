"""Tokens at times of their own: documents, with pauses between the sentences."""

import math

import pytest
import torch
from conftest import make_batch, make_model, make_task

from fairseq_floater.blocks.places import as_rows, sentence_times
from fairseq_floater.encoders import dynamics
from fairseq_floater.encoders.build import build_position_encoder
from fairseq_floater.errors import UserError
from fairseq_floater.ode.solver import solve
from fairseq_floater.options import PositionOptions

PAD, SEPARATOR = 1, 9
SENTENCES = {"position_times": "sentences", "sentence_separator": f"w{SEPARATOR - 4}"}
WORD = 5


def test_a_pause_is_as_long_as_the_sentence_before_it():
    row = [WORD, WORD, SEPARATOR, WORD, SEPARATOR, WORD, WORD]
    times = sentence_times(torch.tensor([row]), PAD, SEPARATOR, gap=2.0)
    # Sentences of 3 and 2 tokens have pauses of 6 and 4 positions after them.
    assert times.tolist() == [[0, 1, 2, 3 + 6, 4 + 6, 5 + 6 + 4, 6 + 6 + 4]]


def test_without_a_gap_times_are_token_positions():
    tokens = torch.tensor([[WORD, SEPARATOR, WORD, WORD]])
    assert sentence_times(tokens, PAD, SEPARATOR, gap=0.0).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("left", [True, False])
def test_padding_does_not_matter(left):
    row, pads = [WORD, SEPARATOR, WORD], [PAD, PAD]
    padded = pads + row if left else row + pads
    times = sentence_times(torch.tensor([padded]), PAD, SEPARATOR, gap=0.5)[0].tolist()
    real = times[2:] if left else times[:3]
    assert real == [0, 1, 3] and set(times) - set(real) == {-1}


def test_times_depend_on_what_is_before_only():
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(4, 12, (3, 30), generator=generator)
    whole = sentence_times(tokens, PAD, SEPARATOR, gap=0.3)
    for length in range(1, 30):
        part = sentence_times(tokens[:, :length], PAD, SEPARATOR, gap=0.3)
        assert torch.equal(part, whole[:, :length])
    assert bool((whole.diff() > 0).all()) and bool((whole.diff() > 1).any())


def test_indices_lead_back_to_the_times():
    first = torch.tensor([[0.0, 1.0, 2.5], [-1.0, 0.0, 1.0]]).double()
    second = torch.tensor([[0.0, 7.0], [0.5, -1.0]]).double()
    times, found = as_rows([first, second])
    assert times.tolist() == [0.0, 0.5, 1.0, 2.5, 7.0]
    for stream, index in zip((first, second), found):
        assert torch.equal(index < 0, stream < 0)
        assert torch.equal(times[index.clamp(min=0)][index >= 0], stream[stream >= 0])


def build_encoder(**options):
    options = PositionOptions(**options)
    encoder = build_position_encoder(options, tracks=3, dim=8, seed=4)
    with torch.no_grad():
        encoder.initial.normal_()
    return encoder


@pytest.mark.parametrize(
    "shortest_period, options, error",
    [
        (None, {"dynamics_init": "random"}, 1e-5),
        (None, {"dynamics_init": "random", "dynamics_damping": 0.5}, 1e-5),
        # The error of the cubic is w^4 / 384 of the motion: for w of 1 per position, and of 1/10.
        (2 * math.pi, {}, 1e-2),
        (20 * math.pi, {}, 1e-6),
    ],
)
def test_between_positions_it_follows_the_equation(shortest_period, options, error, monkeypatch):
    """Compared with a fine solve in float64 at exactly these times."""
    if shortest_period is not None:
        monkeypatch.setattr(dynamics, "SHORTEST_PERIOD", shortest_period)
    encoder = build_encoder(dynamics="mlp", ode_steps_per_position="8", **options).double()
    positions = torch.tensor([0.0, 0.25, 3.7, 4.0, 11.01, 40.5]).double()
    with torch.no_grad():
        found = encoder.at(positions)
        times = torch.cat([torch.linspace(0, 40.5, 2001).double(), positions]).unique() * 0.1
        exact = solve(encoder.dynamics, encoder.initial, times)
        wanted = exact[:, torch.searchsorted(times, positions * 0.1)]
    assert (found - wanted).abs().max() < error
    assert (wanted[:, 1:] - wanted[:, :-1]).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["linear", "driven", "mlp"])
def test_at_whole_positions_it_is_the_table(kind):
    encoder = build_encoder(dynamics=kind)
    with torch.no_grad():
        torch.testing.assert_close(encoder.at(torch.arange(20).double()), encoder(20))


def test_far_slopes_are_as_exact_as_near_ones():
    """Times are float64: float32 has only steps of 1/128 of a position at 100,000."""
    encoder, asked = build_encoder(dynamics="driven"), []
    encoder.dynamics.slopes = lambda initial, times, states: asked.append(times) or states
    with torch.no_grad():
        encoder.at(torch.tensor([100_006.5]).double())
    assert asked[0].dtype == torch.float64 and asked[0].flatten().tolist() == [10_000.6, 10_000.7]


def test_gradients_are_exact_between_positions():
    encoder = build_encoder(dynamics="mlp").double()
    positions = torch.tensor([0.5, 2.25, 9.0]).double()
    weights = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(0)).double()
    parameter = encoder.dynamics.fc1.weight
    (encoder.at(positions) * weights).sum().backward()
    gradient, step = parameter.grad[2, 5].item(), 1e-5
    sums = []
    with torch.no_grad():
        for sign in (1, -1):
            parameter[2, 5] += sign * step
            sums.append(float((encoder.at(positions) * weights).sum()))
            parameter[2, 5] -= sign * step
    assert gradient == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-6)


def documents():
    """Return a batch whose sources and targets have separators."""
    batch = make_batch(lengths=(9, 12, 7), target_lengths=(8, 11, 6))
    for name in ("src_tokens", "prev_output_tokens"):
        tokens = batch[name]
        real = tokens.ne(PAD).int().cumsum(1)
        tokens[(real == 3) | (real == 5)] = SEPARATOR
    return batch


@pytest.mark.parametrize("injection", ["bias", "additive"])
def test_a_model_without_a_gap_is_the_ordinary_one(injection):
    options = {"position_injection": injection, "seed": 3}
    plain, timed = make_model(**options), make_model(**options, **SENTENCES, sentence_gap=0.0)
    paused = make_model(**options, **SENTENCES, sentence_gap=1.0)
    with torch.no_grad():
        logits = [model(**documents())[0] for model in (plain, timed, paused)]
    assert (logits[0] - logits[1]).abs().max() < 1e-5
    assert (logits[0] - logits[2]).abs().max() > 1e-2


def test_generation_computes_what_training_computed():
    """Beams of one sentence change places at every step, and each has sentences of its own."""
    model, batch = make_model(**SENTENCES, sentence_gap=0.7), documents()
    for name in ("src_tokens", "src_lengths"):
        batch[name][1] = batch[name][0]
    batch = {name: values[:2] for name, values in batch.items()}
    tokens = batch["prev_output_tokens"] = batch["prev_output_tokens"][:, :6]
    tokens[0, 4], tokens[1, 2] = SEPARATOR, WORD
    order, rows = torch.tensor([1, 0]), torch.arange(2)
    with torch.no_grad():
        wanted = model(**batch)[0]
        encoded, state = model.encoder(batch["src_tokens"], batch["src_lengths"]), {}
        for step in range(6):
            out, _ = model.decoder(
                tokens[rows, : step + 1], encoder_out=encoded, incremental_state=state
            )
            assert (out[:, -1] - wanted[rows, step]).abs().max() < 1e-5, step
            model.decoder.reorder_incremental_state_scripting(state, order)
            encoded, rows = model.encoder.reorder_encoder_out(encoded, order), rows[order]


def test_an_unknown_separator_is_named():
    model = make_model(make_task(), position_times="sentences", sentence_separator="<nope>")
    with pytest.raises(UserError, match="--sentence-separator <nope> is not in the dictionary"):
        model(**make_batch())


def test_a_learned_base_counts_tokens_not_padding():
    options = {"encoder_learned_pos": True, "max_source_positions": 12}
    model = make_model(**options, **SENTENCES)
    tokens = torch.full((1, 15), 1)
    tokens[0, 4:] = 5
    shorter = model.encoder(tokens[:, 4:])["encoder_out"][0]
    torch.testing.assert_close(model.encoder(tokens)["encoder_out"][0][4:], shorter)


@pytest.mark.parametrize("encoder", ["learned", "rnn", "none"])
def test_encoders_of_whole_positions_are_refused(encoder):
    with pytest.raises(UserError, match=f"--position-encoder {encoder} has whole positions only"):
        make_model(position_encoder=encoder, **SENTENCES)
