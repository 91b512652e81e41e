"""The seam in attention: fairseq's own if neutral, and each of its places does what it says."""

import copy
import math
from contextlib import contextmanager

import pytest
import torch
from fairseq.modules import MultiheadAttention

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.seam import NEUTRAL, AttentionPositions
from fairseq_floater.errors import UserError

HEADS, DIM, BATCH = 3, 12, 2
HEAD_DIM = DIM // HEADS


def pair(**options):
    """Return our attention and fairseq's, with equal weights."""
    torch.manual_seed(0)
    stock = MultiheadAttention(DIM, HEADS, **options).eval()
    with torch.no_grad():
        for projection in (stock.q_proj, stock.k_proj, stock.v_proj, stock.out_proj):
            projection.bias.normal_()
    ours = PositionedAttention(DIM, HEADS, **options).eval()
    ours.load_state_dict(copy.deepcopy(stock.state_dict()), strict=True)
    return ours, stock


@contextmanager
def used(attention, positions):
    """Give ``attention`` its ``positions`` for one pass, as a block does."""
    attention.use(positions)
    try:
        yield
    finally:
        attention.use(NEUTRAL)


def inputs(length, seed=1):
    return torch.randn(length, BATCH, DIM, generator=torch.Generator().manual_seed(seed))


def assert_same(ours, stock, *args, **kwargs):
    found, wanted = ours(*args, **kwargs), stock(*args, **kwargs)
    for a, b in zip(found, wanted):
        assert (a is None) == (b is None)
        if b is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


MASKS = {
    "none": {},
    "pads": {"key_padding_mask": torch.tensor([[True, True] + 5 * [False], 7 * [False]])},
    "causal": {"attn_mask": torch.full((7, 7), -math.inf).triu(1)},
    "both": {
        "attn_mask": torch.full((7, 7), -math.inf).triu(1),
        "key_padding_mask": torch.tensor([7 * [False], 5 * [False] + [True, True]]),
    },
}
WEIGHTS = [
    {"need_weights": False},
    {"need_weights": True},
    {"need_head_weights": True},
]


#: fairseq's two ways to compute attention; the fast one returns no weights per head
WAYS = [("fast", weights) for weights in WEIGHTS[:2]] + [("slow", weights) for weights in WEIGHTS]


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("way, weights", WAYS, ids=str)
def test_neutral_self_attention_is_fairseqs(mask, way, weights):
    ours, stock = pair(self_attention=True)
    if way == "slow":
        stock._set_skip_embed_dim_check()
    x = inputs(7)
    assert_same(ours, stock, x, x, x, **mask, **weights)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_neutral_cross_attention_is_fairseqs(weights):
    """Also in later decoding steps, which keep the keys, values and pads of the first."""
    ours, stock = pair(encoder_decoder_attention=True)
    source, target = inputs(5), inputs(4, seed=2)
    pads = torch.tensor([[True, False, False, False, False], 5 * [False]])
    options = {"key_padding_mask": pads, "static_kv": True, **weights}
    assert_same(ours, stock, target, source, source, **options)
    states = {}, {}
    for step in range(4):
        results = [
            attention(target[step : step + 1], source, source, incremental_state=state, **options)
            for attention, state in zip((ours, stock), states)
        ]
        for a, b in zip(*results):
            if b is not None:
                torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 5, 15, 16, 17])
def test_a_step_of_many_sentences_is_fairseqs(length):
    """In such a step, rows shorter than a vector register of the processor are filled up."""
    ours, stock = pair(encoder_decoder_attention=True)
    source = torch.randn(length, 300, DIM, generator=torch.Generator().manual_seed(1))
    pads = torch.arange(length) >= torch.arange(300)[:, None] % length + 1
    x = source.flip(0)[:1]
    for weights in WEIGHTS:
        options = {"key_padding_mask": pads, "static_kv": True, **weights}
        results = [m(x, source, source, incremental_state={}, **options) for m in (ours, stock)]
        for a, b in zip(*results):
            assert (a is None) == (b is None)
            if b is not None:
                torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_neutral_attention_over_given_keys_is_fairseqs():
    """As in self-attention that reads the source and the target together."""
    ours, stock = pair()
    keys, x = inputs(9), inputs(4, seed=2)
    assert_same(ours, stock, x, keys, keys, need_weights=True)


def test_steps_with_pads_are_kept_as_fairseq_keeps_them():
    ours, stock = pair(self_attention=True)
    x = inputs(4)
    states = {}, {}
    for step in range(4):
        pads = torch.tensor([[step == 0], [False]]) if step < 2 else None
        found, wanted = (
            attention(
                *3 * [x[step : step + 1]],
                key_padding_mask=pads,
                incremental_state=state,
                need_weights=False,
            )[0]
            for attention, state in zip((ours, stock), states)
        )
        real = ~torch.isnan(wanted)  # a leading pad sees nothing
        torch.testing.assert_close(found[real], wanted[real], atol=1e-6, rtol=1e-6)
        order = torch.tensor([1, 0])
        for attention, state in zip((ours, stock), states):
            attention.reorder_incremental_state(state, order)
        x = x[:, order]
    kept = [attention._get_input_buffer(state) for attention, state in zip((ours, stock), states)]
    assert kept[0].keys() == kept[1].keys()
    assert kept[0]["prev_key"].shape == kept[1]["prev_key"].shape


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_keys_that_stand_nowhere_are_refused(option):
    with pytest.raises(UserError, match="leave out add_bias_kv and add_zero_attn"):
        PositionedAttention(8, 2, self_attention=True, **{option: True})


def test_logits_before_softmax_are_fairseqs():
    ours, stock = pair(self_attention=True)
    stock._set_skip_embed_dim_check()
    x = inputs(5)
    assert_same(ours, stock, x, x, x, before_softmax=True)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_keeps_the_mean(rate):
    """Weights are dropped in training only, on both paths through attention."""
    ours, _ = pair(self_attention=True, dropout=rate)
    x = inputs(6)
    plain = ours(x, x, x, need_weights=False)[0]
    ours.train()
    for need in (True, False):
        torch.manual_seed(0)
        runs = torch.stack([ours(x, x, x, need_weights=need)[0] for _ in range(400)])
        assert bool((runs.std(dim=0) > 1e-3).any()) == (rate > 0)
        assert (runs.mean(dim=0) - plain).abs().max() < 0.2


class Rotation(AttentionPositions):
    """Turns pairs of features by angles that grow with the position, as rotary does."""

    def __init__(self, start, keys_from=None):
        self.start, self.keys_from = start, start if keys_from is None else keys_from

    def turned(self, x, first):
        angles = (first + torch.arange(x.size(2)))[:, None] * torch.tensor([1.0, 0.1])
        pairs = torch.view_as_complex(x.contiguous().unflatten(3, (-1, 2)))
        turned = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(3)

    def rotate(self, q, k):
        return self.turned(q, self.start), k if k is None else self.turned(k, self.keys_from)


class ByDistance(AttentionPositions):
    """Adds -slope * |i - j|, one slope per head, and to values a vector by the sign of j - i."""

    needs_weights = True
    slopes = torch.tensor([0.5, 0.1, 0.3])[:, None, None]
    vectors = torch.randn(3, HEAD_DIM, generator=torch.Generator().manual_seed(5))

    def distances(self, targets, sources):
        rows = torch.arange(sources - targets, sources)
        return torch.arange(sources)[None, :] - rows[:, None]

    def scores(self, q, k):
        distance = self.distances(q.size(2), k.size(2))
        return -(self.slopes * distance.abs()).unsqueeze(0)

    def values(self, weights):
        sign = self.distances(*weights.shape[2:]).sign() + 1
        return torch.einsum("bhts,tsd->bhtd", weights, self.vectors[sign])


def by_hand(attention, x, angle=None, score=None, value=None):
    """Compute the attention of one sequence (length, dim), pair by pair in float64."""
    attention = copy.deepcopy(attention).double()
    x = x.double()
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    length, out = len(x), torch.zeros(len(x), DIM, dtype=torch.float64)
    for head in range(HEADS):
        part = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        for i in range(length):
            logits = torch.zeros(i + 1, dtype=torch.float64)
            for j in range(i + 1):
                a, b = q[i, part], k[j, part]
                if angle is not None:
                    a, b = angle(a, i), angle(b, j)
                logits[j] = a @ b / math.sqrt(HEAD_DIM)
                logits[j] += 0.0 if score is None else score(head, j - i)
            weights = logits.softmax(0)
            for j in range(i + 1):
                more = 0.0 if value is None else value(j - i)
                out[i, part] += weights[j] * (v[j, part] + more)
    return attention.out_proj(out).float()


def turn(vector, position):
    """Turn each pair of features by an angle of its own."""
    turned = vector.clone()
    for number, speed in enumerate((1.0, 0.1)):
        c, s = math.cos(position * speed), math.sin(position * speed)
        x, y = vector[2 * number], vector[2 * number + 1]
        turned[2 * number], turned[2 * number + 1] = c * x - s * y, s * x + c * y
    return turned


FORMS = {
    "rotation": (lambda start: Rotation(start), {"angle": turn}),
    "distance": (
        lambda start: ByDistance(),
        {
            "score": lambda head, d: -float(ByDistance.slopes[head]) * abs(d),
            "value": lambda d: ByDistance.vectors[(d > 0) - (d < 0) + 1].double(),
        },
    ),
}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_place_of_the_seam_by_hand(form):
    """Causal, whole and step by step; with and without weights asked for."""
    build, definition = FORMS[form]
    ours, _ = pair(self_attention=True)
    x, length = inputs(6), 6
    wanted = torch.stack([by_hand(ours, x[:, row], **definition) for row in range(BATCH)], 1)
    causal = torch.full((length, length), -math.inf).triu(1)
    for need in (True, False):
        with used(ours, build(0)), torch.no_grad():
            whole = ours(x, x, x, attn_mask=causal, need_weights=need)[0]
        torch.testing.assert_close(whole, wanted, atol=1e-5, rtol=1e-5)
    state = {}
    for step in range(length):
        now = x[step : step + 1]
        with used(ours, build(step)), torch.no_grad():
            out, _ = ours(now, now, now, incremental_state=state, need_weights=False)
        torch.testing.assert_close(out[0], wanted[step], atol=1e-5, rtol=1e-5)


def test_values_are_of_the_weights_after_dropout(monkeypatch):
    ours, _ = pair(self_attention=True, dropout=0.5)
    ours.train()
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *args, **kwargs: 0 * x)
    with used(ours, ByDistance()):
        out = ours(*3 * [inputs(5)])[0]
    torch.testing.assert_close(out, ours.out_proj.bias.expand_as(out))


def test_positions_are_of_one_pass_only():
    """Also when the pass fails."""
    ours, stock = pair(self_attention=True)
    x = inputs(4)
    with used(ours, Rotation(0)):
        turned = ours(x, x, x)[0]
    assert (turned - stock(x, x, x)[0]).abs().max() > 1e-3
    assert_same(ours, stock, x, x, x)
    with pytest.raises(RuntimeError), used(ours, Rotation(0)):
        ours(x[..., :5], x, x)
    assert_same(ours, stock, x, x, x)


@pytest.mark.parametrize("log_scale", [None, 6.0])
@pytest.mark.parametrize("pads", [None, MASKS["both"]["key_padding_mask"]], ids=["full", "pads"])
def test_a_mask_of_truth_values_hides_what_infinities_hide(log_scale, pads):
    class Given(AttentionPositions):
        def scores(self, q, k):
            return torch.linspace(-1, 1, 7)[None, None, :, None].expand(1, HEADS, 7, 7)

    torch.manual_seed(0)
    attention, x = (
        PositionedAttention(DIM, HEADS, self_attention=True, log_scale=log_scale),
        inputs(7),
    )
    causal = MASKS["causal"]["attn_mask"]
    for positions in (NEUTRAL, Given()):
        with used(attention, positions):
            wanted, found = (
                attention(x, x, x, attn_mask=mask, key_padding_mask=pads, need_weights=True)
                for mask in (causal, causal.isinf())
            )
        for a, b in zip(found, wanted):
            torch.testing.assert_close(a, b, atol=0, rtol=0)
        assert not found[1].triu(1).any()
