"""Each form of positions within attention, against its definition, pair by pair in float64."""

import copy
import math

import pytest
import torch

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.forms import form_of
from fairseq_floater.blocks.places import Places, Reading, token_numbers
from fairseq_floater.blocks.tracks import SELF, block_tracks, track_slices
from fairseq_floater.encoders import build_position_encoder
from fairseq_floater.options import PositionOptions

HEADS, DIM, BATCH, LENGTH, K = 6, 48, 2, 11, 3
HEAD_DIM = DIM // HEADS


class Case:
    """One attention with positions of ``options``, whose parameters are all perturbed."""

    def __init__(self, causal, **options):
        torch.manual_seed(0)
        self.options, self.causal = PositionOptions(**options).validate(), causal
        self.use = self.options.chosen
        names = block_tracks(self.options, self.use, (SELF,), causal)
        self.encoder = build_position_encoder(
            self.options, len(names), DIM, heads=HEADS, causal=causal, seed=1
        )
        self.attention = PositionedAttention(DIM, HEADS, self_attention=True).eval()
        with torch.no_grad():
            for p in self.encoder.parameters():
                p.add_(0.3 * torch.randn_like(p))
        self.form = form_of(self.options, self.use, HEAD_DIM)
        self.slices = track_slices(self.options, self.use, (SELF,), causal)

    def positions(self, pads, last_only=False):
        """Return what the attention gets for tokens with these pads (batch, length)."""
        numbers = token_numbers(pads)
        reading = Reading.of(Places(numbers, numbers), None, last_only)
        table = self.form.read(self.encoder, reading)
        tracks = {attention: table[part] for attention, part in self.slices.items()}
        rows = reading.rows.without_pads().tokens.t()
        return self.form.in_attention(tracks, rows, None)[SELF]

    def attend(self, x, pads=None, **options):
        pads = torch.zeros(x.size(1), x.size(0), dtype=torch.bool) if pads is None else pads
        self.attention.use(self.positions(pads))
        mask = torch.full((len(x), len(x)), -math.inf).triu(1) if self.causal else None
        with torch.no_grad():
            return self.attention(x, x, x, attn_mask=mask, key_padding_mask=pads, **options)[0]


def by_hand(case, x, turn=None, score=None, key=None, value=None):
    """Compute the attention of one sequence x (length, dim), pair by pair in float64."""
    attention = copy.deepcopy(case.attention).double()
    x = x.double()
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    out = torch.zeros_like(x)
    for head in range(HEADS):
        part = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        for i in range(len(x)):
            seen = range(i + 1 if case.causal else len(x))
            logits = torch.zeros(len(seen), dtype=torch.float64)
            for j in seen:
                a, b = q[i, part], k[j, part]
                if turn is not None:
                    a, b = turn(a, head, i), turn(b, head, j)
                if key is not None:
                    b = b + key(head, j - i)
                logits[j] = a @ b / math.sqrt(HEAD_DIM)
                logits[j] += 0.0 if score is None else score(head, i, j)
            weights = logits.softmax(0)
            for j in seen:
                more = 0.0 if value is None else value(head, j - i)
                out[i, part] += weights[j] * (v[j, part] + more)
    return attention.out_proj(out).float()


# ---- Definitions, as in the papers. Each takes the case and returns arguments of by_hand. ----


def rotary(case):
    """Su et al. 2021: pair n of P is turned by position * base^(-n / P)."""
    options = case.options
    pairs = int(HEAD_DIM * options.rotary_share / 2)

    def turn(vector, head, position):
        turned = vector.clone()
        for n in range(pairs):
            angle = position * options.rotary_base ** (-n / pairs)
            if hasattr(case.encoder, "readout"):
                state = case.encoder.states(LENGTH)[0, position].double()
                angle = angle + float(case.encoder.readout[head * pairs + n].double() @ state)
            halves = options.rotary_layout == "halves"
            a, b = (n, n + pairs) if halves else (2 * n, 2 * n + 1)
            c, s = math.cos(angle), math.sin(angle)
            turned[a] = c * vector[a] - s * vector[b]
            turned[b] = s * vector[a] + c * vector[b]
        return turned

    return {"turn": turn}


def t5(case):
    """Raffel et al. 2020, as in their code: buckets of both directions are numbered together."""
    buckets, largest = case.options.relative_buckets, case.options.relative_max_distance
    side = buckets if case.causal else buckets // 2

    def bucket(distance):  # from query to key
        start = 0 if case.causal or distance <= 0 else side
        distance, exact = abs(distance), side // 2
        if distance < exact:
            return start + distance
        far = exact + int(math.log(distance / exact) / math.log(largest / exact) * (side - exact))
        return start + min(far, side - 1)

    table = case.encoder.weight.flatten(0, 1).double()
    return {"score": lambda head, i, j: table[bucket(j - i), head]}


SLOPES = {6: [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8], 3: [1 / 16, 1 / 256, 1 / 4]}


def alibi(case):
    """Press et al. 2022; in an encoder, half of the heads look back and half look ahead."""
    form = case.options.alibi_form

    def score(head, i, j):
        if form == "learned":
            return -math.exp(case.encoder.log_slopes[int(j > i), head]) * abs(i - j)
        if form == "symmetric" or case.causal:
            return -SLOPES[6][head] * abs(i - j)
        if (j > i and head < 3) or (j < i and head >= 3):
            return -math.inf
        return -SLOPES[3][head % 3] * abs(i - j)

    return {"score": score}


def shaw(case):
    """Shaw et al. 2018: clipped distances, for keys and values."""
    tables = case.encoder.table.double()

    def vector(table, head, distance):
        row = table[max(-K, min(K, distance)) + K]
        return row[head * HEAD_DIM : (head + 1) * HEAD_DIM] if len(row) == DIM else row

    parts = {"key": lambda head, d: vector(tables[0], head, d)}
    if case.options.shaw_values:
        parts["value"] = lambda head, d: vector(tables[1], head, d)
    return parts


def fire(case):
    """Li et al. 2024, with a network for each direction, normalised by the later token."""
    encoder = copy.deepcopy(case.encoder).double()
    nearest = abs(float(encoder.length_factor) * encoder.length)

    def psi(x):
        return math.log(abs(float(encoder.c) * x) + 1)

    def score(head, i, j):
        x = psi(abs(i - j)) / psi(max(nearest, i, j))
        return encoder.networks[int(j > i)](torch.tensor([x], dtype=torch.float64))[head]

    return {"score": score}


def floater_scores(case):
    """ALiBi's scores or 0, plus a readout of the direction's trajectory at distance * delta."""
    states, readout = case.encoder.states(LENGTH).double(), case.encoder.readout.double()
    slopes = SLOPES[6] if case.options.scores_start == "alibi" else 6 * [0.0]

    def score(head, i, j):
        state = states[int(j > i), abs(i - j)]
        return -slopes[head] * abs(i - j) + readout[head] @ state

    return {"score": score}


FLOATER = {"position_encoder": "floater", "position_state_dim": 4}
SHAW = {"position_encoder": "shaw", "shaw_max_distance": K}
CASES = {
    "rotary": (rotary, {"position_encoder": "rotary"}),
    "rotary halves": (rotary, {"position_encoder": "rotary", "rotary_layout": "halves"}),
    "rotary in part": (
        rotary,
        {"position_encoder": "rotary", "rotary_share": 0.5, "rotary_base": 100.0},
    ),
    "floater rotation": (rotary, {**FLOATER, "position_injection": "rotation"}),
    "t5": (
        t5,
        {"position_encoder": "relative-bias", "relative_buckets": 8, "relative_max_distance": 9},
    ),
    "t5 default": (t5, {"position_encoder": "relative-bias"}),
    "alibi": (alibi, {"position_encoder": "alibi"}),
    "alibi symmetric": (alibi, {"position_encoder": "alibi", "alibi_form": "symmetric"}),
    "alibi learned": (alibi, {"position_encoder": "alibi", "alibi_form": "learned"}),
    "shaw": (shaw, SHAW),
    "shaw values": (shaw, {**SHAW, "shaw_values": True}),
    "shaw per head": (shaw, {**SHAW, "shaw_values": True, "shaw_per_head": True}),
    "fire": (fire, {"position_encoder": "fire", "fire_length": 4.0}),
    "floater scores": (floater_scores, {**FLOATER, "position_injection": "scores"}),
    "floater scores from zero": (
        floater_scores,
        {**FLOATER, "position_injection": "scores", "scores_start": "zero"},
    ),
}


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_by_hand(name, causal):
    """With and without weights asked for; pads on either side of a row change nothing."""
    definition, options = CASES[name]
    case = Case(causal, **options)
    x = torch.randn(LENGTH, BATCH, DIM, generator=torch.Generator().manual_seed(2))
    wanted = torch.stack([by_hand(case, x[:, b], **definition(case)) for b in range(BATCH)], 1)
    for need in (True, False):
        close(case.attend(x, need_weights=need), wanted)
    short = by_hand(case, x[:-4, 0], **definition(case))
    for shift in (0,) if causal else (0, 4):  # the blocks of a decoder see no pads on the left
        padded, pads = x.clone(), torch.zeros(BATCH, LENGTH, dtype=torch.bool)
        padded[:, 0] = 9.0
        padded[shift : shift + LENGTH - 4, 0] = x[:-4, 0]
        pads[0] = True
        pads[0, shift : shift + LENGTH - 4] = False
        found = case.attend(padded, pads, need_weights=False)
        close(found[shift : shift + LENGTH - 4, 0], short)
        close(found[:, 1], wanted[:, 1])


@pytest.mark.parametrize("sizes", [11 * [1], [4, 1, 3, 2, 1]], ids=["steps", "longer steps"])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_steps_give_what_the_whole_gives(name, sizes):
    """Also in steps of several tokens, with beams that change places after each step."""
    case = Case(True, **CASES[name][1])
    x = torch.randn(LENGTH, BATCH, DIM, generator=torch.Generator().manual_seed(3))
    whole, state, done, order = case.attend(x, need_weights=False), {}, 0, torch.tensor([1, 0])
    rows = torch.arange(BATCH)
    for size in sizes:
        now, seen = x[done : done + size, rows], done + size
        everything = case.positions(torch.zeros(BATCH, seen, dtype=torch.bool))
        mask = torch.full((size, seen), -math.inf).triu(1 + done) if size > 1 else None
        case.attention.use(last_rows(case, everything, size, seen))
        out, _ = case.attention(
            now, now, now, incremental_state=state, attn_mask=mask, need_weights=False
        )
        close(out, whole[done:seen, rows])
        case.attention.reorder_incremental_state(state, order)
        rows, done = rows[order], seen


def last_rows(case, positions, size, seen):
    """Return what a step of the last ``size`` tokens gets, given what all ``seen`` tokens get."""
    if case.use.injection == "rotation":
        turn = positions.query._replace(rows=positions.query.rows[seen - size :])
        positions.query = positions.key = turn
    elif case.use.encoder_class.by_pair:
        positions.given = positions.given[:, :, seen - size :]
    return positions


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_half_precision(name, dtype):
    case = Case(False, **CASES[name][1])
    x = torch.randn(LENGTH, BATCH, DIM, generator=torch.Generator().manual_seed(2))
    wanted = case.attend(x, need_weights=False)
    case.attention.to(dtype), case.encoder.to(dtype)
    for need in (True, False):
        found = case.attend(x.to(dtype), need_weights=need).float()
        assert (found - wanted).abs().max() < {torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype]


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 8, 12, 16])
def test_alibi_slopes_are_the_authors(heads):
    from fairseq_floater.encoders.alibi import alibi_slopes

    def authors(n):  # as in the paper's code, from a start and a ratio
        if math.log2(n).is_integer():
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]
        closest = 2 ** math.floor(math.log2(n))
        return authors(closest) + authors(2 * closest)[0::2][: n - closest]

    assert alibi_slopes(heads).tolist() == pytest.approx(authors(heads))


@pytest.mark.parametrize("both", [True, False])
def test_log_scale_by_hand(both):
    """Products are multiplied by log n / log N, where n is the number of keys a query sees.

    Pads do not count.
    """
    torch.manual_seed(0)
    scaled = PositionedAttention(DIM, HEADS, self_attention=True, log_scale=7.0).eval()
    x, pads = torch.randn(5, 2, DIM), torch.tensor([5 * [False], 3 * [False] + 2 * [True]])
    mask = None if both else torch.full((5, 5), -math.inf).triu(1)
    for need in (True, False):
        found, _ = scaled(x, x, x, pads, attn_mask=mask, need_weights=need)
        for row, length in ((0, 5), (1, 3)):
            plain = copy.deepcopy(scaled)
            plain.log_scale = None
            for i in range(length):
                seen = length if both else i + 1
                with torch.no_grad():
                    plain.scaling = scaled.scaling * math.log(seen) / math.log(7.0)
                    keys = x[:seen, row : row + 1]
                    plain.self_attention = False
                    wanted, _ = plain(x[i : i + 1, row : row + 1], keys, keys, need_weights=True)
                close(found[i, row], wanted[0, 0])
