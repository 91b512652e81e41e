"""Stacks of unusual sizes: how long their inputs may be, and stacks without blocks."""

import pytest
import torch
from conftest import make_batch, make_model, make_stock, make_task, steps

from fairseq_floater.encoders.sinusoidal import sinusoids
from fairseq_floater.errors import UserError


def logits(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


def test_no_length_limit_but_for_learned():
    task = make_task()
    model = make_model(task, position_encoder="floater")
    assert task.cfg.max_source_positions > 10**6 and model.max_positions()[0] > 10**6
    batch = make_batch(lengths=(1500,), target_lengths=(1300,))
    assert torch.isfinite(logits(model, batch)).all()

    task = make_task()
    model = make_model(task, position_encoder="learned", max_source_positions=50)
    assert model.max_positions() == (50, 1024) and task.cfg.max_target_positions == 1024
    with pytest.raises(UserError, match="positions up to 51.*holds 50"):
        logits(model, make_batch(lengths=(51,), target_lengths=(5,)))
    logits(model, make_batch(lengths=(50, 20), target_lengths=(5, 5)))


#: a table at the decoder's input, and vectors of source positions in its attentions
SHORT_TABLE = {"decoder_learned_pos": True, "max_target_positions": 12}


@pytest.mark.parametrize(
    "options",
    [
        {"dynamics": "mlp"},
        {"dynamics": "mlp", "position_shift": 3},
        {
            "position_injection": "rotation",
            "position_attention": "both",
            "keep_input_positions": True,
        },
        {"position_encoder": "rotary", "position_attention": "both", "keep_input_positions": True},
    ],
    ids=str,
)
def test_sources_may_be_longer_than_the_table_of_the_targets_input(options):
    short, longer = (
        make_model(**options, **{**SHORT_TABLE, "max_target_positions": most}) for most in (12, 40)
    )
    state = longer.state_dict()
    state["decoder.embed_positions.encoder.table"] = state["decoder.embed_positions.encoder.table"][
        :, :12
    ]
    short.load_state_dict(state)
    batch = make_batch(lengths=(20, 9, 13))
    expected = logits(longer, batch)
    torch.testing.assert_close(logits(short, batch), expected, atol=1e-6, rtol=0)
    with torch.no_grad():
        for step, out in steps(short, batch, 4):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [0, 4])
def test_sources_are_as_long_as_the_decoders_vectors_of_them(shift):
    options = {"position_encoder": "learned", "position_injection": "bias"}
    limits = {"max_source_positions": 64, "max_target_positions": 12, "position_shift": shift}
    model = make_model(**options, **limits)
    assert model.max_positions() == (12, 12)
    assert torch.isfinite(logits(model, make_batch(lengths=(12, 3), target_lengths=(4, 4)))).all()
    apart = make_model(**options, **limits, position_attention="self")
    assert apart.max_positions() == (64, 12)


@pytest.mark.parametrize("blocks", ["all", "input"])
def test_a_stack_without_blocks_has_positions_at_its_input(blocks):
    stock = make_stock(encoder_layers=0)
    model = make_model(position_encoder="sinusoidal", position_blocks=blocks, encoder_layers=0)
    model.encoder.load_state_dict(stock.encoder.state_dict())
    batch = make_batch(lengths=(5, 5))
    ours, theirs = (
        m.encoder(batch["src_tokens"], batch["src_lengths"])["encoder_out"][0]
        for m in (model, stock)
    )
    # At all blocks, a term for the number of the block is added as well (paper, equation 7).
    term = sinusoids(torch.ones(1), 16) if blocks == "all" else torch.zeros(1)
    torch.testing.assert_close(ours, theirs + term)


@pytest.mark.parametrize(
    "options",
    [{}, {"base_positions": "rotary"}, {"position_encoder": "sinusoidal"}],
    ids=str,
)
def test_a_decoder_without_blocks_takes_steps(options):
    model, batch = make_model(decoder_layers=0, **options), make_batch(target_lengths=(6, 6, 6))
    expected = logits(model, batch)
    with torch.no_grad():
        for step, out in steps(model, batch, 6):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)
