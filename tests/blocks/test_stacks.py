"""The model inside fairseq: what it equals, and what must make no difference."""

import copy

import pytest
import torch
from conftest import (
    COMBINATIONS,
    WITHIN,
    as_options,
    make_batch,
    make_model,
    make_stock,
    make_task,
    steps,
)
from fairseq.sequence_generator import SequenceGenerator

from fairseq_floater.errors import UserError

#: some of them with tokens at times of their own as well
TIMES = {"position_times": "sentences", "sentence_separator": "w3", "sentence_gap": 0.7}
TIMED = [("floater", "all", "bias"), ("floater", "all", "additive"), ("sinusoidal", "input", None)]

TIMED_WITHIN = [
    {**options, **TIMES}
    for options in (
        {"position_encoder": "rotary", "position_attention": "both"},
        {"position_injection": "rotation", "position_shift": 3},
        {"position_encoder": "fourier", "base_positions": "rotary"},
    )
]

#: biases in some attentions only, and self-attention that reads source and target together
BIAS = ("floater", "all", "bias")
JOINT = {"cross_self_attention": True}
ATTENTIONS = [
    {"position_attention": "self"},
    {"position_attention": "cross"},
    JOINT,
    {**JOINT, "no_cross_attention": True},
    {**JOINT, **TIMES},
]

#: kinds of dynamics other than the default, and forms of them
DYNAMICS = [
    {"dynamics": "mlp"},
    {"dynamics": "driven", **TIMES},
    {"dynamics": "linear", "position_injection": "rotation", "position_state_dim": 4},
    {"dynamics": "driven", "position_injection": "scores", "position_state_dim": 4},
]


@pytest.fixture(
    params=[(c, {}) for c in COMBINATIONS]
    + [(c, TIMES) for c in TIMED]
    + [(BIAS, attentions) for attentions in ATTENTIONS]
    + [(None, options) for options in [*WITHIN.values(), *TIMED_WITHIN, *DYNAMICS]],
    ids=str,
)
def combination(request):
    """Options of one valid combination."""
    parts, more = request.param
    return {**(as_options(*parts) if parts else {}), **more}


def logits(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "extra", [{}, {"layernorm_embedding": True}, {"encoder_normalize_before": True}]
)
def test_input_encoders_equal_stock_fairseq(learned, extra):
    """The same weights give the same logits: in evaluation and, with equal dropout, in training."""
    stock = make_stock(encoder_learned_pos=learned, decoder_learned_pos=learned, **extra)
    ours = make_model(
        position_encoder="learned" if learned else "sinusoidal", position_blocks="input", **extra
    )
    ours.load_state_dict(copy.deepcopy(stock.state_dict()), strict=True)
    batch = make_batch()
    assert torch.equal(logits(ours, batch), logits(stock, batch))
    for model in (ours, stock):
        model.train()
        for module in model.modules():
            if hasattr(module, "p"):
                module.p = 0.1
    torch.manual_seed(3)
    expected = stock(**batch)[0]
    torch.manual_seed(3)
    assert torch.equal(ours(**batch)[0], expected)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("encoder", ["floater", "learned"])
def test_zero_biases_equal_the_base_model(learned, encoder):
    base = {"encoder_learned_pos": learned, "decoder_learned_pos": learned}
    stock = make_stock(**base)
    ours = make_model(position_encoder=encoder, position_injection="bias", **base)
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if ".position_encoder." in name:
                p.zero_()
    state = {k: v for k, v in ours.state_dict().items() if ".position_encoder." in k}
    ours.load_state_dict({**copy.deepcopy(stock.state_dict()), **state}, strict=True)
    batch = make_batch()
    torch.testing.assert_close(logits(ours, batch), logits(stock, batch), atol=1e-6, rtol=0)
    ours.train(), stock.train()  # fairseq's fast attention path in the stock decoder
    torch.testing.assert_close(ours(**batch)[0], stock(**batch)[0], atol=1e-6, rtol=0)


def test_same_seed_same_base_weights_whatever_the_encoder(combination):
    of_base = ("cross_self_attention", "no_cross_attention")
    base = {name: value for name, value in combination.items() if name in of_base}
    reference = make_stock(**base).state_dict()
    state = make_model(lively=False, **combination).state_dict()
    common = [k for k in reference if k in state and "embed_positions" not in k]
    assert len(common) >= len(reference) - 2
    assert all(torch.equal(reference[k], state[k]) for k in common)


def test_learned_base_encoding_starts_as_fairseqs():
    base = {"encoder_learned_pos": True, "decoder_learned_pos": True}
    stock, ours = make_stock(**base).state_dict(), make_model(lively=False, **base).state_dict()
    for name, value in stock.items():
        if name.endswith("embed_positions.weight"):
            table = ours[name.replace("weight", "encoder.table")]
            assert torch.equal(table[0], value[2:])
        else:
            assert torch.equal(ours[name], value), name


def test_positions_matter_and_get_gradients(combination):
    """Every position parameter gets a gradient, and permuting words changes the output."""
    model = make_model(**combination).train()
    batch = make_batch(lengths=(6, 6), target_lengths=(6, 6))
    model(**batch)[0].pow(2).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and bool(p.grad.abs().sum() > 0), name
    if combination.get("position_encoder") == "none":
        return
    swapped = dict(batch, src_tokens=batch["src_tokens"][:, [1, 0, 2, 3, 4, 5]])
    model.eval()
    assert (logits(model, swapped) - logits(model, batch)).abs().max() > 1e-4


@pytest.mark.parametrize("left_pad", [False, True])
def test_batch_composition_and_padding_do_not_matter(combination, left_pad):
    model = make_model(**combination)
    batch = make_batch(left_pad=left_pad)
    together = logits(model, batch)
    for i, (source_length, target_length) in enumerate(zip((5, 9, 3), (7, 4, 6))):
        source = batch["src_tokens"][i]
        source = source[-source_length:] if left_pad else source[:source_length]
        alone = logits(
            model,
            {
                "src_tokens": source.unsqueeze(0),
                "src_lengths": torch.tensor([source_length]),
                "prev_output_tokens": batch["prev_output_tokens"][i : i + 1, :target_length],
            },
        )
        torch.testing.assert_close(together[i, :target_length], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("left_pad_target", [False, True])
def test_incremental_decoding_equals_teacher_forcing(combination, left_pad_target):
    """Also with beams that are reordered at every step, and with target padding on the left."""
    model = make_model(**combination)
    batch = make_batch(
        lengths=(5, 5, 9, 9), target_lengths=(7, 4, 6, 6), left_pad_target=left_pad_target
    )
    for key in ("src_tokens", "src_lengths"):  # two beams of two sentences
        batch[key][1], batch[key][3] = batch[key][0], batch[key][2]
    tokens = batch["prev_output_tokens"]
    expected = logits(model, batch)
    rows, order, drop = torch.arange(4), torch.tensor([1, 0, 3, 2]), torch.tensor([3, 2])
    with torch.no_grad():
        encoder_out = model.encoder(batch["src_tokens"], batch["src_lengths"])
        state: dict = {}
        for step in range(tokens.size(1)):
            out, _ = model.decoder(
                tokens[rows, : step + 1], encoder_out=encoder_out, incremental_state=state
            )
            real = tokens[rows, step] != 1
            assert ((out[:, -1] - expected[rows, step])[real].abs() < 1e-5).all(), step
            new_order = drop if step == 4 else order[: len(rows)]  # a finished sentence leaves
            model.decoder.reorder_incremental_state_scripting(state, new_order)
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, new_order)
            rows = rows[new_order]


def test_a_prefix_begins_a_translation_and_is_scored_as_in_training(combination):
    """Words of fairseq's beam search have the probabilities that teacher forcing gives them."""
    task = make_task()
    model, batch = make_model(task, **combination), make_batch()
    source = {name: batch[name] for name in ("src_tokens", "src_lengths")}
    prefix = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    generator = SequenceGenerator([model], task.target_dictionary, beam_size=2, max_len_b=6)
    found = generator.generate([model], {"net_input": source}, prefix_tokens=prefix)
    for row, (best, *_) in enumerate(found):
        words = best["tokens"]
        assert torch.equal(words[:3], prefix[row])
        before = torch.cat([words[-1:], words[:-1]]).unsqueeze(0)  # it starts with the end symbol
        one = {name: tokens[row : row + 1] for name, tokens in source.items()}
        expected = logits(model, {**one, "prev_output_tokens": before})[0].log_softmax(-1)
        scores = expected.gather(1, words.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(best["positional_scores"], scores, atol=1e-5, rtol=0)


def test_steps_of_sentences_without_pads_give_what_teacher_forcing_gives(combination):
    """All tokens then stand at one position, whose vector serves them all."""
    model = make_model(**combination)
    batch = make_batch(target_lengths=(6, 6, 6))
    expected = logits(model, batch)
    with torch.no_grad():
        for step, out in steps(model, batch, 6):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)


def test_what_others_keep_in_the_state_of_a_decoding_makes_no_first_step_a_later_one(combination):
    """An entry of an agent, and entries of another model: several models may share a dictionary."""
    model, other = make_model(**combination), make_model(seed=5)
    batch = make_batch(target_lengths=(6, 6, 6))
    expected, state = logits(model, batch), {"agent": {"read": torch.zeros(3)}}
    with torch.no_grad():
        others = steps(other, batch, 3, state)
        for _, (step, out) in zip(others, steps(model, batch, 3, state)):
            torch.testing.assert_close(out, expected[:, step], atol=1e-5, rtol=0)


def test_checkpointed_activations_give_the_same_gradients(combination):
    plain = make_model(**combination).double().train()
    checkpointed = make_model(checkpoint_activations=True, **combination).double().train()
    checkpointed.load_state_dict(plain.state_dict())
    batch = make_batch()
    for model in (plain, checkpointed):
        torch.manual_seed(1)  # the starts of sentences may be drawn at random
        model(**batch)[0].pow(2).sum().backward()
    for (name, a), b in zip(plain.named_parameters(), checkpointed.parameters()):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-10, rtol=1e-10, msg=name)


def test_layer_drop_keeps_the_blocks_own_trajectories():
    """A dropped block takes its vectors with it; the others keep theirs."""
    model = make_model(encoder_layerdrop=0.5, decoder_layerdrop=0.5)
    batch = make_batch()
    reference = make_model()
    assert torch.equal(logits(model, batch), logits(reference, batch))
    seen = []
    for block, layer in enumerate(m for m in model.encoder.layers.children()):
        layer.register_forward_pre_hook(
            lambda m, args, kwargs, block=block: seen.append((block, kwargs["position_tracks"])),
            with_kwargs=True,
        )
    model.train()
    torch.manual_seed(0)
    for _ in range(4):
        model(**batch)
    assert 0 < len(seen) < 12
    table = model.encoder.position_encoder(9).split(3)
    assert all(torch.allclose(tracks, table[block]) for block, tracks in seen)


@pytest.mark.parametrize("encoder", ["floater", "rnn"])
def test_unequal_widths_and_shared_dynamics(encoder):
    model = make_model(position_encoder=encoder, decoder_embed_dim=24)
    assert torch.isfinite(logits(model, make_batch())).all()
    with pytest.raises(UserError, match="--share-dynamics all needs equal widths"):
        make_model(position_encoder=encoder, decoder_embed_dim=24, share_dynamics="all")
    shared = make_model(position_encoder=encoder, share_dynamics="all")
    assert shared.encoder.position_encoder.dynamics is shared.decoder.position_encoder.dynamics
    assert torch.isfinite(logits(shared, make_batch())).all()


def test_shared_embeddings_and_copies():
    """All embeddings are shared; a deep copy (as for an average of weights) is independent."""
    model = make_model(share_all_embeddings=True)
    batch = make_batch()
    expected = logits(model, batch)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin, batch), expected)
    with torch.no_grad():
        twin.encoder.position_encoder.initial.add_(1.0)
    assert not torch.equal(logits(twin, batch), expected)
    assert torch.equal(logits(model, batch), expected)


def test_quantisation_noise_and_adaptive_softmax_are_kept():
    model = make_model(quant_noise_pq=0.1, quant_noise_pq_block_size=4).train()
    assert torch.isfinite(model(**make_batch())[0]).all()


@pytest.mark.parametrize("dynamics", ["linear", "mlp"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype, dynamics):
    """The trajectories are solved in float32 even where all parameters are half precision."""
    model = make_model(dynamics=dynamics).to(dtype)
    assert model.encoder.position_encoder(4).dtype == (
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    reference = make_model(dynamics=dynamics)
    difference = logits(model, make_batch()).float() - logits(reference, make_batch())
    assert difference.abs().max() < {torch.float16: 2e-2, torch.bfloat16: 2e-1}.get(dtype, 1e-5)
    model.train()
    model(**make_batch())[0].float().pow(2).mean().backward()
    parameters = model.encoder.position_encoder.dynamics.parameters()
    assert all(torch.isfinite(parameter.grad).all() for parameter in parameters)


def test_autocast():
    model = make_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.encoder.position_encoder(4).dtype == torch.float32
        out = logits(model, make_batch())
    assert (out.float() - logits(model, make_batch())).abs().max() < 0.2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"position_encoder": "rope"}, "--position-encoder is 'rope'"),
        ({"position_delta": 0.0}, "--position-delta must be between 1e-6 and 1e6, got 0.0"),
        ({"position_delta": float("nan")}, "--position-delta"),
        ({"dynamics_damping": -1.0}, "--dynamics-damping must be >= 0"),
        ({"dynamics_damping": 28.0}, "is too much for --ode-solver rk4 at steps of 0.1: use at m"),
        (
            {"ode_backend": "torchdiffeq", "ode_solver": "heun3", "dynamics_damping": 26.0},
            "is too much for --ode-solver heun3 at steps of 0.1: use at most 25.12",
        ),
        ({"position_encoder": "fire", "fire_length": 1e-320}, "--fire-length must be >= 1e-6"),
        ({"dynamics_longest_period": float("inf")}, "--dynamics-longest-period must be > 4 pi"),
        ({"dynamics_hidden_dim": 0}, "--dynamics-hidden-dim"),
        ({"rnn_layers": 3}, "--rnn-layers must be 1 or 2"),
        ({"ode_steps_per_position": "2/3"}, "2/3"),
        ({"ode_solver": "dopri5"}, "--ode-backend native has no --ode-solver dopri5"),
        ({"ode_adjoint": True}, "--ode-adjoint needs --ode-backend torchdiffeq"),
        ({"position_encoder": "sinusoidal", "position_injection": "bias"}, "no learned biases"),
        ({"position_encoder": "none", "position_injection": "bias"}, "nothing to inject"),
        ({"position_encoder": "rnn", "encoder_learned_pos": True}, "--encoder-learned-pos"),
        ({"encoder_layers_to_keep": "0,7"}, "--encoder-layers-to-keep is 0,7.*has layers 0 to 2"),
        (
            {"position_attention": "cross", "no_cross_attention": True},
            "--position-attention cross has no attention to act in",
        ),
        (
            {"position_attention": "self", "position_injection": "additive"},
            "--position-attention self chooses among the biases",
        ),
        (
            {"position_encoder": "learned", "no_token_positional_embeddings": True},
            "--no-token-positional-embeddings",
        ),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_model(**options)
