"""Compare the generation speed of FLOATER with that of the sinusoidal baseline, in one run.

Models that differ in their position encoder, and in the attention that it acts in, translate the
same sentences in turn, with fairseq's own beam search, to a fixed length (the weights are random).
The place of weights in memory changes the speed by several per cent. Therefore models share the
weights that they have in common, and are built again several times. The encodings are there from
the first round on, as they are in a checkpoint after `floater bake`.

    source .venv/bin/activate && source recipes/common.sh
    python recipes/benchmarks/generate.py > generate.md

common.sh makes the allocator keep its pages; without it, ratios are noisier, by up to 3 per cent.
"""

import argparse
import functools
import statistics
import sys
from typing import Callable, Dict, Iterable, List

import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from fairseq.utils import apply_to_sample
from models import add_measurement, build, clock, dictionary, of_time, ratio

from fairseq_floater.commands.arguments import at_least_one

BASELINE = "sinusoidal, input"
FLOATER = {"position_encoder": "floater"}
LINEAR = {**FLOATER, "dynamics": "linear"}
#: position options by name; without blocks and injection, these are biases at all blocks
ENCODINGS = {
    BASELINE: {"position_encoder": "sinusoidal", "position_blocks": "input"},
    "floater, linear": LINEAR,
    "floater, driven": {**FLOATER, "dynamics": "driven"},
    "floater, mlp": {**FLOATER, "dynamics": "mlp"},
    "floater, linear, additive": {**LINEAR, "position_injection": "additive"},
    "floater, linear, input, additive": {
        **LINEAR,
        "position_blocks": "input",
        "position_injection": "additive",
    },
}


def batch(words: Dictionary, sentences: int, length: int) -> Dict[str, Dict[str, torch.Tensor]]:
    lengths = torch.linspace(length // 2, length, sentences).long()
    tokens = torch.full((sentences, length), words.pad())
    for row, size in zip(tokens, lengths):
        row[-size:] = torch.randint(4, len(words), (int(size),))
        row[-1] = words.eos()
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


def share(models: Iterable[torch.nn.Module]) -> None:
    """Let all models read the weights of the first where they have the same ones."""
    first, *others = models
    weights = dict(first.named_parameters())
    for model in others:
        for name, own in model.named_parameters():
            if name in weights and weights[name].shape == own.shape:
                own.data = weights[name].data


def seconds(generator: SequenceGenerator, sample: Dict, now: Callable[[], float]) -> float:
    started = now()
    generator.generate([], sample)
    return now() - started


def measure(size: str, args: argparse.Namespace) -> Dict[str, List[float]]:
    """Return by encoding the seconds of each build, the median of its rounds; order alternates."""
    words = dictionary(args.words)
    sample = batch(words, args.sentences, args.source_length)
    sample = apply_to_sample(lambda tensor: tensor.to(args.device), sample)
    now = clock(args.device)
    options = {"beam_size": args.beam, "max_len_b": args.length, "min_len": args.length}
    found: Dict[str, List[float]] = {name: [] for name in ENCODINGS}
    for current in range(args.builds):
        names = list(ENCODINGS)[current % len(ENCODINGS) :] + list(ENCODINGS)
        names = names[: len(ENCODINGS)]
        models = {
            name: build(size, ENCODINGS[name], words).eval().to(args.device) for name in names
        }
        share(models.values())
        for model in models.values():  # as fairseq-generate does
            model.make_generation_fast_(need_attn=False)
        generators = {
            name: SequenceGenerator([model], words, **options) for name, model in models.items()
        }
        taken: Dict[str, List[float]] = {name: [] for name in ENCODINGS}
        for round_ in range(args.rounds + 1):  # the first one warms up and solves
            for name in names[:: 1 if round_ % 2 else -1]:
                taken[name].append(seconds(generators[name], sample, now))
        for name, rounds in taken.items():
            found[name].append(statistics.median(rounds[1:]))
        print(f"{size}: {current + 1} of {args.builds}", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    count = functools.partial(parser.add_argument, type=at_least_one)
    count("--sentences", default=16, help="sentences in the batch; default: %(default)s")
    count("--beam", default=4, help="default: %(default)s")
    count("--source-length", default=30, help="in tokens; default: %(default)s")
    count("--length", default=30, help="tokens of translations; default: %(default)s")
    add_measurement(parser, builds=12, rounds=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("# Generation speed with FLOATER against the sinusoidal baseline\n")
    print(
        f"{args.sentences} sentences of up to {args.source_length} tokens to {args.length} tokens, "
        f"beam {args.beam}.\nMeasured: {of_time(args.device)}. Tokens per second are the median\n"
        f"over {args.builds} builds of every model, {args.rounds} rounds each. Against the "
        "baseline: the mean over builds of\nthe baseline's time divided by the model's, with two "
        "standard errors.\n"
    )
    print("| model | position encoding | tokens/s | against the baseline |")
    print("|---|---|---|---|")
    for size in args.sizes:
        found = measure(size, args)
        for name, times in found.items():
            tokens = args.sentences * args.length / statistics.median(times)
            print(f"| {size} | {name} | {tokens:,.0f} | {ratio(found[BASELINE], times)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
