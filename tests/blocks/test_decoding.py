"""What later decoding steps compute, and what they leave out."""

import copy
import gc
import weakref

import pytest
import torch
from conftest import make_batch, make_model, make_task, steps
from fairseq.sequence_generator import SequenceGenerator
from fairseq.utils import apply_to_sample

from fairseq_floater.ode import equation


def logits(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


@pytest.mark.parametrize("letter", "qkv")
def test_a_hook_of_a_projection_acts_in_every_step(letter):
    """As with an adapter or quantisation noise: such a step is not computed in one product."""
    model, batch = make_model(), make_batch(target_lengths=(6, 6, 6))
    plain = logits(model, batch)
    for layer in model.decoder.layers:
        for attention in (layer.self_attn, layer.encoder_attn):
            projection = getattr(attention, f"{letter}_proj")
            projection.register_forward_hook(lambda _, arguments, y: 2 * y)
    expected = logits(model, batch)
    assert not torch.allclose(expected, plain, atol=1e-3)
    with torch.no_grad():
        for step, out in steps(model, batch, 6):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)


def test_a_decoding_with_gradients_keeps_nothing_of_them():
    """Biases then act in steps as in other passes, and the model can still be copied."""
    model, batch = make_model(), make_batch(target_lengths=(6, 6, 6))
    expected = logits(model, batch)
    for step, out in steps(model, batch, 3):
        torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)
    out.sum().backward()
    assert bool(model.decoder.position_encoder.initial.grad.any())
    copy.deepcopy(model)


def test_a_decoding_has_the_weights_there_are():
    """Not those of an earlier decoding, whose steps keep weights that they have stacked."""
    model, other = make_model(), make_model(seed=7)
    batch = make_batch(target_lengths=(6, 6, 6))
    with torch.no_grad():
        list(steps(model, batch, 6))
        model.load_state_dict(other.state_dict())
        expected = logits(other, batch)
        for step, out in steps(model, batch, 6):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)


def test_a_step_after_one_with_gradients_compares_the_weights():
    """A pass with gradients does not look at the kept table, which is of other weights."""
    model, batch = make_model(), make_batch(target_lengths=(6, 6, 6))
    logits(model, batch)
    with torch.no_grad():
        model.decoder.position_encoder.initial.mul_(-3)
    walk = steps(model, batch, 2)
    next(walk)  # with gradients
    with torch.no_grad():
        _, out = next(walk)
        torch.testing.assert_close(out, logits(model, batch)[:, 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda state: apply_to_sample(torch.clone, state)]
)
def test_a_decoding_may_go_on_from_a_copy_of_its_state(copied):
    model, batch = make_model(), make_batch(target_lengths=(6, 6, 6))
    expected, state = logits(model, batch), {}
    with torch.no_grad():
        walk = steps(model, batch, 6, state)
        for _ in range(3):
            next(walk)
        other = copied(state)
        encoder_out = model.encoder(batch["src_tokens"], batch["src_lengths"])
        for step, out in walk:
            prefix = batch["prev_output_tokens"][:, : step + 1]
            branch, _ = model.decoder(prefix, encoder_out=encoder_out, incremental_state=other)
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)
            torch.testing.assert_close(branch[:, -1], out, atol=1e-5, rtol=0)


def test_what_a_decoding_keeps_ends_with_it():
    model, state = make_model(), {}
    with torch.no_grad():
        list(steps(model, make_batch(target_lengths=(6, 6, 6)), 6, state))
    (kept,) = (weakref.ref(first.steps) for first in state.values() if hasattr(first, "steps"))
    assert kept() is not None
    state.clear()
    gc.collect()
    assert kept() is None


def test_a_table_ends_a_translation_one_token_before_its_own_end():
    """The record of a row relies on this to count truncated translations (``results.run``)."""
    task = make_task()
    model = make_model(task, position_encoder="learned", max_target_positions=8)
    with torch.no_grad():
        model.decoder.output_projection.weight[task.target_dictionary.eos()] = 0.0
        model.decoder.output_projection.weight[4:] *= 9.0  # so that the end is never the best word
    batch = {key: make_batch()[key] for key in ("src_tokens", "src_lengths")}
    generator = SequenceGenerator([model], task.target_dictionary, beam_size=1, max_len_b=20)
    lengths = [
        len(best["tokens"]) - 1 for best, *_ in generator.generate([model], {"net_input": batch})
    ]
    assert max(lengths) == model.stacks()["decoder"].max_positions() - 1 == 7


def test_generation_solves_nothing_after_the_first_batch(monkeypatch):
    """Beam search also finds the same hypotheses for a sentence in any batch."""
    solved = []

    def counted(*args, **kwargs):
        solved.append(1)
        return solve(*args, **kwargs)

    solve = equation.solve
    monkeypatch.setattr(equation, "solve", counted)
    task = make_task()
    model = make_model(task, dynamics="mlp")
    generator = SequenceGenerator([model], task.target_dictionary, beam_size=3, max_len_b=12)

    def hypotheses(batch):
        inputs = {key: batch[key] for key in ("src_tokens", "src_lengths")}
        return [
            (best["tokens"].tolist(), best["score"].item())
            for best, *_ in generator.generate([model], {"net_input": inputs})
        ]

    batch = make_batch()
    together = hypotheses(batch)
    assert len(solved) == 2  # one table each for encoder and decoder
    for i, length in enumerate((5, 9, 3)):
        alone = hypotheses(
            {
                "src_tokens": batch["src_tokens"][i : i + 1, -length:],
                "src_lengths": torch.tensor([length]),
            }
        )
        assert alone[0][0] == together[i][0]
        assert alone[0][1] == pytest.approx(together[i][1], abs=1e-5)
    assert len(solved) == 2
