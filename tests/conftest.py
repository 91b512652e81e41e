"""Small models on a small vocabulary, built as fairseq builds them; how tests are distributed.

The process that distributes the tests among the others also reads this file, but runs no tests.
Therefore torch and fairseq are imported only where they are used.
"""

import os
import shlex
from argparse import Namespace
from types import SimpleNamespace

import hostility
import launching
import pytest
from places import TESTS

SMALL = {
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "dropout": 0.0,
}

#: every meaningful combination of encoder, blocks and injection
COMBINATIONS = [
    (encoder, blocks, injection)
    for encoder in ("floater", "learned", "rnn")
    for blocks in ("all", "input")
    for injection in ("bias", "additive")
] + [("sinusoidal", "all", "additive"), ("sinusoidal", "input", "additive"), ("none", "all", None)]


#: positions within attention: alone, beside those of the input, and under FLOATER's biases
WITHIN = {
    "rotary": {"position_encoder": "rotary"},
    "relative bias, input kept": {
        "position_encoder": "relative-bias",
        "keep_input_positions": True,
    },
    "alibi": {"position_encoder": "alibi"},
    "alibi learned": {"position_encoder": "alibi", "alibi_form": "learned"},
    "shaw": {"position_encoder": "shaw", "shaw_max_distance": 3, "shaw_values": True},
    "fire": {"position_encoder": "fire", "fire_length": 4.0},
    "fourier": {"position_encoder": "fourier"},
    "floater rotation": {
        "position_injection": "rotation",
        "position_attention": "both",
        "share_dynamics": "all",
    },
    "floater scores": {"position_injection": "scores", "position_blocks": "input"},
    "floater on rotary": {"base_positions": "rotary"},
    "floater in cross-attention on relative bias": {
        "base_positions": "relative-bias",
        "position_attention": "cross",
        "keep_input_positions": True,
    },
    "recurrent on shaw": {"position_encoder": "rnn", "position_injection": "bias"}
    | {"base_positions": "shaw"},
    "floater at the first block on fire, shifted": {
        "position_blocks": "input",
        "base_positions": "fire",
        "fire_length": 4.0,
        "fire_per_block": True,
        "position_shift": 5,
    },
    "shifted, scaled": {"position_shift": 5, "attention_log_scale": 6.0},
    "sinusoidal, scaled": {
        "position_encoder": "sinusoidal",
        "position_blocks": "input",
        "attention_log_scale": 6.0,
    },
}


def make_task(words: int = 23) -> SimpleNamespace:
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for i in range(words):
        dictionary.add_symbol(f"w{i}")
    cfg = SimpleNamespace(max_source_positions=1024, max_target_positions=1024)
    return SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary, cfg=cfg)


def make_model(task=None, *, seed: int = 0, lively: bool = True, **options):
    """Build a small ``floater_transformer``; ``lively`` adds noise to every position parameter."""
    import torch
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    import fairseq_floater  # noqa: F401  registers the models

    args = Namespace(arch="floater_transformer", **{**SMALL, **options})
    ARCH_CONFIG_REGISTRY["floater_transformer"](args)
    torch.manual_seed(seed)
    model = ARCH_MODEL_REGISTRY["floater_transformer"].build_model(args, task or make_task())
    if lively:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "position" in name or "base_encoder" in name:
                    p.add_(0.3 * torch.randn_like(p))
    return model.eval()


def make_stock(task=None, *, seed: int = 0, **options):
    """Build fairseq's ``transformer`` of the same shape."""
    import torch
    from fairseq.models.transformer import TransformerModel

    args = Namespace(arch="transformer", **{**SMALL, **options})
    torch.manual_seed(seed)
    return TransformerModel.build_model(args, task or make_task()).eval()


def make_batch(
    lengths=(5, 9, 3), target_lengths=(7, 4, 6), *, left_pad=True, left_pad_target=False
):
    """Make random tokens (4..26), padded as fairseq pads them: source left, target right."""
    import torch

    generator = torch.Generator().manual_seed(1)

    def padded(sizes, left):
        rows = torch.full((len(sizes), max(sizes)), 1)
        for row, size in zip(rows, sizes):
            words = torch.randint(4, 27, (size,), generator=generator)
            words[-1] = 2
            if left:
                row[-size:] = words
            else:
                row[:size] = words
        return rows

    source = padded(lengths, left_pad)
    target = padded(target_lengths, left_pad_target)
    return {
        "src_tokens": source,
        "src_lengths": torch.tensor(lengths),
        "prev_output_tokens": target,
    }


def steps(model, batch, count, state=None):
    """Yield the number and output (batch, words) of each decoding step, fed the batch's target."""
    tokens, state = batch["prev_output_tokens"], {} if state is None else state
    encoder_out = model.encoder(batch["src_tokens"], batch["src_lengths"])
    for step in range(count):
        out, _ = model.decoder(
            tokens[:, : step + 1], encoder_out=encoder_out, incremental_state=state
        )
        yield step, out[:, -1]


def as_options(encoder, blocks, injection):
    """Return one of ``COMBINATIONS`` as options."""
    return {
        "position_encoder": encoder,
        "position_blocks": blocks,
        "position_injection": injection,
    }


@pytest.fixture(params=COMBINATIONS, ids=lambda c: "-".join(str(part) for part in c))
def combination(request):
    """Options of one valid combination."""
    return as_options(*request.param)


#: the slowest modules, which pytest-xdist starts with (see run.sh)
LONG = (
    *("training", "run", "command_line", "export", "quickstart", "wmt14", "corpora", "wheel"),
    *("readme", "heatmap", "serve", "export_page", "to_huggingface", "roberta_training", "results"),
    *("elsewhere", "gpu", "benchmarks"),
)


def pytest_addoption(parser):
    parser.addoption(
        "--hostile",
        type=int,
        metavar="N",
        help="make N cases, new ones each time, for every test of tests/hostile (see hostility.py)",
    )
    parser.addoption(
        "--processes",
        type=int,
        metavar="N",
        default=2,
        help="train in N processes in tests/programs/test_killed_processes.py",
    )


def pytest_configure(config):
    """Start one fork server for all processes, which are themselves forked from it."""
    hostility.wanted = config.getoption("--hostile")
    if processes := getattr(config.option, "numprocesses", None):
        os.environ["FORK_SERVER"] = launching.fork_server()
        worker = shlex.join(str(part) for part in (*launching.FORKED, TESTS / "pytest_worker.py"))
        config.option.tx = [f"popen//python={worker}"] * processes


def pytest_collection_modifyitems(items):
    """Put the long modules first, so that none of them is still running alone at the end."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONG)))
