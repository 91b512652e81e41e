"""Compare the training speed of FLOATER and its levers with that of fairseq's own Transformer.

Models that differ only in their positions are trained on the same batch in turn, in one run. A
round has as many updates as one cycle of --position-encoder-update-interval. Models are built again
several times, since the place of their weights in memory changes the speed by several per cent.

    source .venv/bin/activate && source recipes/common.sh
    python recipes/benchmarks/training.py > training.md

common.sh makes the allocator keep its pages, as in every recipe. ``against_stock.py`` measures the
effect of these settings together with that of the one-pass loss.
"""

import argparse
import functools
import json
import statistics
import sys
from types import SimpleNamespace
from typing import Callable, Dict, List

import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.data import Dictionary
from fairseq.utils import apply_to_sample
from models import STOCK, add_measurement, build, clock, dictionary, of_time, ratio

from fairseq_floater.commands.arguments import at_least_one

INTERVAL = 4
FLOATER = {"position_encoder": "floater", "dynamics": "mlp"}
LINEAR = {**FLOATER, "dynamics": "linear"}
STOCK_LOSS, OUR_LOSS = "label_smoothed_cross_entropy", "floater_cross_entropy"
ONE_PASS = f"floater, linear, `{OUR_LOSS}`"
#: position options by name; fairseq's own model has none
VARIANTS = {
    STOCK: None,
    "sinusoidal, input": {"position_encoder": "sinusoidal", "position_blocks": "input"},
    "learned, all blocks": {"position_encoder": "learned"},
    "floater, linear": LINEAR,
    ONE_PASS: LINEAR,
    "floater, linear, additive": {**LINEAR, "position_injection": "additive"},
    "floater, driven": {**FLOATER, "dynamics": "driven"},
    "floater, mlp": FLOATER,
    "floater, mlp, `--ode-steps-per-position 5`": {**FLOATER, "ode_steps_per_position": "5"},
    "floater, mlp, 5 steps by torchdiffeq's adjoint": {
        **FLOATER,
        "ode_steps_per_position": "5",
        "ode_backend": "torchdiffeq",
        "ode_adjoint": True,
    },
    f"floater, mlp, `--position-encoder-update-interval {INTERVAL}`": {
        **FLOATER,
        "position_encoder_update_interval": INTERVAL,
    },
    "floater, mlp, `--freeze-position-encoder`": {**FLOATER, "freeze_position_encoder": True},
    "floater, mlp, `--freeze-base`": {**FLOATER, "freeze_base": True},
}


def batch(words: Dictionary, tokens: int, length: int) -> Dict[str, torch.Tensor]:
    size = (max(1, tokens // length), length)
    source, target = torch.randint(4, len(words), (2, *size))
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full(size[:1], length),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
        "ntokens": target.numel(),
    }


def trainer(
    size: str,
    variant: str,
    words: Dictionary,
    sample: Dict,
    dropout: float = 0.3,
    bf16: bool = False,
) -> Callable[[int], float]:
    """Return a function that makes so many updates and returns the mean seconds per update.

    It runs on the device of ``sample``.
    """
    device = sample["target"].device
    model = build(size, VARIANTS[variant], words, dropout=dropout).to(device)
    now = clock(device.type)
    task = SimpleNamespace(target_dictionary=words)
    loss = OUR_LOSS if variant == ONE_PASS else STOCK_LOSS
    criterion = CRITERION_REGISTRY[loss](task, False, 0.1)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=1e-4, betas=(0.9, 0.98))
    model.train()
    made = 0

    def train(updates: int) -> float:
        nonlocal made
        started = now()
        for _ in range(updates):
            model.set_num_updates(made)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss, _, _ = criterion(model, sample)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            made += 1
        return (now() - started) / updates

    return train


def measure(size: str, args: argparse.Namespace) -> Dict[str, List[float]]:
    """Return by variant the seconds per update with each build, the median of its rounds."""
    words = dictionary(args.words)
    sample = batch(words, args.tokens, args.length)
    sample = apply_to_sample(lambda tensor: tensor.to(args.device), sample)
    found: Dict[str, List[float]] = {name: [] for name in args.variants}
    for current in range(args.builds):
        trainers = {
            name: trainer(size, name, words, sample, bf16=args.bf16) for name in args.variants
        }
        names = args.variants[:: 1 if current % 2 else -1]
        for name in names:
            trainers[name](INTERVAL)  # warms up
        taken = {name: [] for name in args.variants}
        for _ in range(args.rounds):
            for name in names:
                taken[name].append(trainers[name](INTERVAL))
        for name, rounds in taken.items():
            found[name].append(statistics.median(rounds))
        print(f"{size}: {current + 1} of {args.builds}", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    count = functools.partial(add, type=at_least_one)
    count("--tokens", default=4096, help="of the batch, per side; default: %(default)s")
    count("--length", default=32, help="of sentences, in tokens; default: %(default)s")
    add("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    add_measurement(parser, builds=4, rounds=2)
    add("--bf16", action="store_true", help="autocast to bfloat16")
    add("--json", action="store_true", help="print only the seconds of each build, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.json:
        print(json.dumps({size: measure(size, args) for size in args.sizes}))
        return 0
    print("# Training speed with FLOATER against fairseq's own Transformer\n")
    print(
        f"Batches of {args.tokens:,} tokens in sentences of {args.length}, {args.words:,} words, "
        f"Adam{', autocast to bfloat16' if args.bf16 else ''}.\nMeasured: "
        f"{of_time(args.device)}. Seconds are the median over {args.builds}\nbuilds of every "
        f"model, {args.rounds} rounds of {INTERVAL} updates each. Speed: the mean over builds of "
        "the\nfirst model's time divided by the model's, with two standard errors.\n"
    )
    print("| model | positions | seconds per update | speed relative to the first |")
    print("|---|---|---|---|")
    for size in args.sizes:
        found = measure(size, args)
        first = next(iter(found.values()))
        for name, times in found.items():
            seconds = statistics.median(times)
            print(f"| {size} | {name} | {seconds:#.3g} | {ratio(first, times)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
