"""float16 and bfloat16 at 65,536 positions: nothing exceeds their range."""

import pytest
import torch
from conftest import make_batch, make_model
from test_forms import CASES, DIM, HEADS, Case

from fairseq_floater.blocks.attention import PositionedAttention
from fairseq_floater.blocks.biases import ProjectionBiases, Track, biased
from fairseq_floater.blocks.seam import NEUTRAL
from fairseq_floater.encoders import KINDS, build_position_encoder
from fairseq_floater.options import PositionOptions

FAR, QUERIES = 65_536, 3
HALVES = [torch.float16, torch.bfloat16]


def attend(attention, x, need_weights):
    """Attend from the last tokens to all tokens."""
    with torch.no_grad():
        return attention(x[-QUERIES:], x, x, need_weights=need_weights)[0]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("need_weights", [True, False])
def test_biases_that_grow_as_those_of_trained_models(dtype, need_weights):
    """In one they were 25 at position 1,024, 330 at 3,072 and 649 at 4,096; these grow faster."""
    attention = PositionedAttention(DIM, HEADS).eval()
    table = 1.0 * torch.arange(FAR)[:, None] * torch.randn(1, DIM)
    x, rows = torch.randn(FAR, 1, DIM), torch.arange(FAR)[:, None]
    attention.to(dtype)
    track = [Track(table, rows)]
    attention.use(ProjectionBiases([Track(table, rows[-QUERIES:])], track, track))
    out = attend(attention, x.to(dtype), need_weights)
    assert bool(out.isfinite().all())
    attention.float()
    with torch.autocast("cpu", dtype):
        assert bool(attend(attention, x, need_weights).isfinite().all())


#: factors on the parameters of kinds whose parameters are small
LOUD = {"relative-bias": 30.0, "shaw": 30.0, "fire": 6.0}


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("floater")])
@torch.no_grad()
def test_forms(name):
    """A query far out, as in a decoding step, in both half precisions and in float32."""
    case = Case(True, **CASES[name][1])
    case.attention.self_attention = False
    loud = LOUD.get(case.encoder.kind, 1.0)  # otherwise positions this far out change nothing
    for parameter in case.encoder.parameters():
        if parameter.dim():
            parameter.mul_(loud)
    x = torch.randn(FAR, 1, DIM, generator=torch.Generator().manual_seed(1))
    positions = case.positions(torch.zeros(1, FAR, dtype=torch.bool), last_only=True)
    if case.use.injection == "rotation":
        rows = torch.arange(FAR)[:, None]
        positions.query = positions.key._replace(rows=rows[-1:])
        positions.key = positions.key._replace(rows=rows)
    case.attention.use(positions)
    wanted = case.attention(x[-1:], x, x, need_weights=True)[0]
    case.attention.use(NEUTRAL)
    without = case.attention(x[-1:], x, x, need_weights=True)[0]
    change = (wanted - without).abs().max()
    assert change > 0.05
    case.attention.use(positions)
    for dtype in HALVES:
        half, y = case.attention.to(dtype), x.to(dtype)
        for need in (True, False):
            found = half(y[-1:], y, y, need_weights=need)[0]
            assert bool(found.isfinite().all())
            assert (found.float() - wanted).abs().max() < 0.15 * change


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("none", "learned")])
@torch.no_grad()
def test_tables(kind):
    """All kinds without a length limit get that far, in float32 even if the parameters are not."""
    coarse = {"dynamics": "mlp", "ode_steps_per_position": "1/8"}
    options = PositionOptions(position_encoder=kind, **coarse).validate()
    encoder = build_position_encoder(options, 2, 16, heads=2, causal=True, seed=1).half()
    for parameter in encoder.parameters():
        if parameter.eq(0).all():  # as where biases start
            torch.nn.init.normal_(parameter, std=0.5)
    table = encoder(FAR)
    assert bool(table.any())
    assert table.dtype == torch.float32 and bool(table[:, ::977].isfinite().all())


def gradients(case, x, dtype):
    """Return the gradients of the encoder's parameters in one pass in ``dtype``, by name."""
    case.encoder.zero_grad()
    case.attention.to(dtype)
    case.attention.use(case.positions(torch.zeros(x.size(1), x.size(0), dtype=torch.bool)))
    y = x.to(dtype)
    out = case.attention(y, y, y, need_weights=True)[0]
    (
        out.float() * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    ).sum().backward()
    return {n: p.grad.clone() for n, p in case.encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["t5 default", "alibi learned", "shaw values", "floater scores"])
def test_gradients_are_summed_in_full_precision(name):
    """One entry of a table serves a thousand pairs of tokens; bfloat16 has 8 bits."""
    case = Case(False, **CASES[name][1])
    x = torch.randn(700, 1, DIM, generator=torch.Generator().manual_seed(1))
    wanted, found = (gradients(case, x, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert wanted.keys() == found.keys() and wanted
    for key, gradient in wanted.items():
        assert (found[key] - gradient).norm() < 0.03 * gradient.norm(), key


def test_gradients_of_biases_are_summed_in_full_precision():
    """A thousand sentences read the bias of one position."""
    attention = PositionedAttention(DIM, HEADS).to(torch.bfloat16)
    vectors = torch.zeros(4, DIM, requires_grad=True)
    rows = torch.arange(4)[:, None].expand(4, 1000)
    x, far = torch.zeros(4, 1000, DIM, dtype=torch.bfloat16), torch.full((4, 1000, DIM), 1 / 3)
    out = biased(attention.q_proj, x, [Track(vectors, rows)])
    out.backward(far.to(torch.bfloat16))
    wanted = float(torch.tensor(1 / 3).to(torch.bfloat16))
    torch.testing.assert_close(vectors.grad, torch.full((4, DIM), 1000 * wanted))
    torch.testing.assert_close(
        attention.q_proj.bias.grad.float(), torch.full((DIM,), 4000 * wanted), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_model_whose_biases_grow(dtype):
    """Where its trajectories are no longer small, whole targets and steps alike stay finite."""
    model = make_model(encoder_layers=1, decoder_layers=1, dynamics="mlp")
    with torch.no_grad():
        for stack in model.stacks().values():
            stack.position_encoder.dynamics.fc2.bias.add_(40 * torch.randn(16))
    assert model.encoder.position_encoder(600)[:, -1].abs().max() > 1000
    model.to(dtype)
    batch = make_batch(lengths=(600, 20), target_lengths=(590, 20))
    with torch.no_grad():
        whole, _ = model(**batch)
        assert bool(whole.isfinite().all())
        encoded = model.encoder(batch["src_tokens"], batch["src_lengths"])
        state = {}
        for length in (589, 590):
            seen = batch["prev_output_tokens"][:1, :length]
            first = {
                k: [v[0][:, :1] if k == "encoder_out" else v[0][:1]] if v else v
                for k, v in encoded.items()
            }
            out, _ = model.decoder(seen, encoder_out=first, incremental_state=state)
            assert bool(out.isfinite().all())
