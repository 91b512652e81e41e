"""Positions within attention in whole models: what they start from and how far they reach."""

import re
from pathlib import Path

import pytest
import torch
from conftest import WITHIN, make_batch, make_model, make_task

from fairseq_floater.encoders.shaw import ShawEncoder
from fairseq_floater.errors import UserError


def logits(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


@pytest.mark.parametrize("name", [name for name in WITHIN if "shifted" not in name])
def test_four_times_the_training_length(name):
    """Nothing within attention limits the length; in half precision everything stays finite."""
    task = make_task()
    model = make_model(task, **WITHIN[name])
    assert model.max_positions() == (10**9, 10**9)
    batch = make_batch(lengths=(120,), target_lengths=(130,))
    plain = logits(model, batch)
    assert bool(plain.isfinite().all())
    for dtype, near in ((torch.float16, 0.01), (torch.bfloat16, 0.1)):
        model.to(dtype)
        assert (logits(model, batch).float() - plain).abs().mean() < near


def test_shift_moves_sentences_in_training_and_stands_still_after():
    """Each source and each target is moved by its own number from 0 to K; afterwards, all by K."""
    for options in ({"position_encoder": "sinusoidal", "position_blocks": "input"}, {}):
        model, plain = make_model(position_shift=9, **options), make_model(**options)
        plain.load_state_dict(model.state_dict())
        pads, tokens = torch.zeros(50, 4, dtype=torch.bool), torch.full((50, 4), 5)
        tokens[7, :2], pads[7, :2] = 1, True
        for stack in model.stacks().values():
            stack.train()
            places = stack.places(tokens)
            starts = places.tokens[:, -1] - stack.eval().places(tokens).tokens[:, -1] + 9
            assert set(starts.tolist()) == set(range(10))
            assert torch.equal(places.tokens[7, :2], torch.tensor([-1, -1]))
            assert stack.places(tokens).tokens[0].tolist() == [9, 10, 11, 12]
        batch = make_batch()
        found = logits(model, batch)
        for stack in plain.stacks().values():
            stack.options.position_shift = 9
        assert torch.equal(logits(plain, batch), found)
        for stack in plain.stacks().values():
            stack.options.position_shift = 0
        assert (logits(plain, batch) - found).abs().max() > 1e-4


def test_a_learned_table_is_longer_by_the_shift():
    options = {"position_encoder": "learned", "max_source_positions": 20, "position_shift": 5}
    model = make_model(**options)
    assert model.encoder.position_encoder.table.size(1) == 25
    assert model.max_positions() == (20, 1024)
    assert bool(logits(model, make_batch(lengths=(20, 3), target_lengths=(4, 6))).isfinite().all())


STARTS = {
    "floater rotation": ({"position_injection": "rotation"}, {"position_encoder": "rotary"}),
    "floater rotation from a random h": (
        {"position_injection": "rotation", "dynamics_init": "random"},
        {"position_encoder": "rotary"},
    ),
    "floater scores": (
        {"position_injection": "scores"},
        {"position_encoder": "alibi", "alibi_form": "symmetric"},
    ),
    "floater scores from zero": (
        {"position_injection": "scores", "scores_start": "zero"},
        {"position_encoder": "none"},
    ),
    "floater on rotary": ({"base_positions": "rotary"}, {"position_encoder": "rotary"}),
    "floater on alibi": ({"base_positions": "alibi"}, {"position_encoder": "alibi"}),
    "floater without a base": ({"base_positions": "none"}, {"position_encoder": "none"}),
    "relative bias beside the input": (
        {"position_encoder": "relative-bias", "keep_input_positions": True},
        {"position_encoder": "sinusoidal", "position_blocks": "input"},
    ),
    "shaw beside the input": (
        {"position_encoder": "shaw", "shaw_values": True, "keep_input_positions": True},
        {"position_encoder": "sinusoidal", "position_blocks": "input"},
    ),
    "fire beside the input": (
        {"position_encoder": "fire", "keep_input_positions": True},
        {"position_encoder": "sinusoidal", "position_blocks": "input"},
    ),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_new_model_starts_as_its_peer(name):
    """Equal weights elsewhere give equal logits; dynamics get a gradient at the first update."""
    options, peer = STARTS[name]
    ours = make_model(lively=False, **options)
    batch = make_batch(lengths=(40, 9, 3), target_lengths=(37, 4, 6))
    torch.testing.assert_close(
        logits(ours, batch), logits(make_model(lively=False, **peer), batch), atol=1e-5, rtol=0
    )
    ours.train()(**batch)[0].pow(2).sum().backward()
    for name, p in ours.named_parameters():
        if name.endswith((".initial", "dynamics.fc2.bias")):
            assert bool(p.grad.abs().sum() > 0), name


def test_fire_of_each_block_is_its_own():
    """If equal, they act as a shared one; each has its own gradients and moves its own scores."""
    fire = {"position_encoder": "fire", "fire_length": 4.0}
    shared, own = make_model(**fire), make_model(**fire, fire_per_block=True, lively=False)
    weights = shared.state_dict()
    for name, weight in own.state_dict().items():
        if "networks" in name:
            stack, number, rest = re.fullmatch(r"(.*networks\.)(\d+)(\..*)", name).groups()
            directions = 2 if stack.startswith("encoder") else 1
            weights[name] = weights[f"{stack}{int(number) % directions}{rest}"]
        elif name.endswith((".c", "length_factor")):
            weights[name] = weights[name].expand_as(weight)
    own.load_state_dict(weights)
    batch = make_batch(lengths=(20, 9, 3), target_lengths=(17, 4, 6))
    torch.testing.assert_close(logits(own, batch), logits(shared, batch), atol=1e-5, rtol=0)
    own(**batch)[0].sum().backward()
    encoder = own.encoder.position_encoder
    assert encoder.sets == 3 and len(encoder.networks) == 6
    assert encoder.c.grad.shape == (3,) and bool((encoder.c.grad != 0).all())
    assert all(bool(p.grad.any()) for p in encoder.networks.parameters())
    before = encoder(9).detach()
    with torch.no_grad():
        encoder.networks[2][2].bias.add_(1.0)  # of block 1, for keys before the query
    moved = (encoder(9) - before)[:, 1:].abs().amax(dim=(1, 2)) > 0.5  # both share distance 0
    assert moved.tolist() == [False, False, True, False, False, False]
    assert (logits(own, batch) - logits(shared, batch)).abs().max() > 1e-4


#: parameters of positions at width 512, 8 heads and 6 + 6 blocks, as the documentation says
COUNTS = {
    "floater": ({}, 552_448),
    "floater mlp": ({"dynamics": "mlp"}, 1_080_320),
    "rotary": ({"position_encoder": "rotary"}, 0),
    "relative-bias": ({"position_encoder": "relative-bias"}, 512),
    "alibi": ({"position_encoder": "alibi"}, 0),
    "alibi learned": ({"position_encoder": "alibi", "alibi_form": "learned"}, 24),
    "shaw": ({"position_encoder": "shaw"}, 19_200),
    "shaw values": ({"position_encoder": "shaw", "shaw_values": True}, 38_400),
    "fire": ({"position_encoder": "fire"}, 988),
    "fire of each block": ({"position_encoder": "fire", "fire_per_block": True}, 5_928),
    "fourier": ({"position_encoder": "fourier"}, 893_120),
    "floater rotation": ({"position_injection": "rotation"}, 18_848),
    "floater scores": ({"position_injection": "scores"}, 3_168),
    "floater additive": ({"position_injection": "additive"}, 530_944),
    "rnn": ({"position_encoder": "rnn", "position_injection": "bias"}, 553_984),
    "learned": ({"position_encoder": "learned"}, 6_291_456),
}
#: the first cell of its row on the page, where it is not the name
ROWS = {
    "floater mlp": "floater",
    "alibi learned": "alibi",
    "shaw values": "shaw",
    "rnn": "rnn --position-injection bias",
    **{
        f"floater {n}": f"floater --position-injection {n}"
        for n in ("rotation", "scores", "additive")
    },
}
PAGE = (Path(__file__).parents[2] / "docs" / "peers.md").read_text()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name, monkeypatch):
    for draw in ("xavier_uniform_", "kaiming_uniform_"):  # values do not matter here
        monkeypatch.setattr(torch.nn.init, draw, lambda weight, *_, **__: weight)
    options, count = COUNTS[name]
    base = {"encoder_embed_dim": 512, "encoder_ffn_embed_dim": 8, "decoder_layers": 6}
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8, "encoder_layers": 6}
    model = make_model(lively=False, **base, **heads, **options)
    assert sum(p.numel() for n, p in model.named_parameters() if "position" in n) == count
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{ROWS.get(name, name)}` |")]
    assert rows or name == "fire of each block"  # which is said elsewhere on the page
    assert re.search(rf"\b{count:,}\b", rows[0] if rows else PAGE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"position_encoder": "rotary", "position_injection": "bias"}, "no learned biases for"),
        ({"position_injection": "relative"}, "no vectors by distance for.*from shaw"),
        ({"position_encoder": "rotary", "rotary_share": 0.1}, "--rotary-share 0.1 of a head of"),
        ({"rotary_share": 1.5}, "--rotary-share must be > 0 and <= 1, got 1.5"),
        ({"relative_buckets": 7}, "--relative-buckets must be even and >= 4, got 7"),
        (
            {"position_encoder": "relative-bias", "relative_max_distance": 8},
            "--relative-max-distance 8 leaves nothing for the farther half",
        ),
        ({"shaw_max_distance": 0}, "--shaw-max-distance must be >= 1, got 0"),
        (
            {"position_encoder": "alibi", "encoder_attention_heads": 1},
            "--alibi-form nonsymmetric needs two heads",
        ),
        (
            {"position_encoder": "rotary", "base_positions": "alibi"},
            "--base-positions alibi needs biases to stand beside",
        ),
        ({"keep_input_positions": True}, "--keep-input-positions is for positions within"),
        (
            {
                "position_encoder": "rotary",
                "keep_input_positions": True,
                "no_token_positional_embeddings": True,
            },
            "--keep-input-positions contradicts --no-token-positional-embeddings",
        ),
        (
            {"base_positions": "sinusoidal", "encoder_learned_pos": True},
            "--base-positions sinusoidal already chooses the positions at the input",
        ),
        ({"position_encoder": "alibi", "position_shift": 5}, "--position-shift 5 moves sentences"),
        ({"position_encoder": "rotary", "position_shift": 5}, "--position-shift 5 moves sentences"),
        (
            {"base_positions": "rotary", "encoder_learned_pos": True},
            "bias keeps, but --base-positions rotary replaces it",
        ),
        ({"position_shift": -1}, "--position-shift must be >= 0, got -1"),
        (
            {"encoder_learned_pos": True, "max_source_positions": 20, "position_shift": 20},
            "--position-shift 20 leaves no room in a table of 20 positions at the input",
        ),
        ({"attention_log_scale": 1.0}, "--attention-log-scale must be > 1, got 1.0"),
        (
            {"base_positions": "alibi", "attention_log_scale": 30.0},
            "--attention-log-scale 30 counts the keys that all heads see, which differ with",
        ),
        (
            {"position_encoder": "alibi", "position_attention": "cross"},
            "--position-attention cross chooses among the biases",
        ),
        (
            {"position_encoder": "rotary", "cross_self_attention": True},
            "--cross-self-attention reads source and target together, where rotary",
        ),
        (
            {"position_encoder": "fire", "position_times": "sentences"},
            "--position-encoder fire has whole positions only",
        ),
        (
            {"base_positions": "shaw", "position_times": "sentences"},
            "--position-times sentences moves tokens, but distances are counted in tokens",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_model(**options)


@pytest.mark.parametrize("base", ["sinusoidal", "learned", "none"])
def test_base_positions_at_the_input_are_those_of_fairseqs_options(base):
    stock = {
        "sinusoidal": {},
        "learned": {"encoder_learned_pos": True, "decoder_learned_pos": True},
        "none": {"no_token_positional_embeddings": True},
    }
    ours, theirs = make_model(base_positions=base), make_model(**stock[base])
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(logits(ours, make_batch()), logits(theirs, make_batch()))


def plainly(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **options):
    """Compute attention by its definition, which returns NaN for a row that sees nothing."""
    logits = q @ k.transpose(2, 3) * (q.size(3) ** -0.5 if scale is None else scale)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask
    return logits.softmax(dim=3) @ v


@pytest.mark.parametrize("left", [True, False])
def test_a_pad_that_sees_nothing_makes_no_nan(left, monkeypatch):
    """Half of the heads of ALiBi's encoder see only one side, which may hold only pads."""
    model = make_model(position_encoder="alibi")
    batch = make_batch((9, 3), (8, 4), left_pad=left)
    tokens = batch["prev_output_tokens"].ne(1)
    with torch.no_grad():
        wanted = model(**batch)[0][tokens]
        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", plainly)
        found = model(**batch)[0]
    assert found.isfinite().all()
    torch.testing.assert_close(found[tokens], wanted, atol=1e-5, rtol=1e-5)


def test_vectors_of_distances_have_no_positions():
    with pytest.raises(UserError, match="Shaw's vectors are those of distances"):
        ShawEncoder(1, 4, 2)(torch.tensor([0.0]))
