"""What a model that tells masked words makes of blocks of several lengths.

Prints the loss on the validation set, in bits a token, of checkpoints of the first stage (see
docs/understanding.md), by fairseq-validate. The set is cut anew into blocks of whole sentences of
up to so many pieces. A longer sentence is left out, so that each column has its own pieces, and
rows compare within a column.

    python recipes/benchmarks/block_lengths.py runs/data/brown/bin \\
        head=runs/stage1_minilm/brown/head/seed1/average.pt ... > block_lengths.md
"""

import argparse
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Tuple

import fairseq_floater

USER_DIR = str(Path(fairseq_floater.__file__).parent)

#: pieces of an update of fairseq-validate
PIECES = 8192


def named(text: str) -> Tuple[str, Path]:
    """NAME=CHECKPOINT."""
    name, _, path = text.partition("=")
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"must be NAME=CHECKPOINT, and a file there, got {text}")
    return name, Path(path)


def loss(corpus: str, checkpoint: Path, length: int, limit: int) -> float:
    """In bits a masked token, on blocks of up to ``length`` pieces; the model's limit is kept."""
    overrides = {"tokens_per_sample": length, "max_positions": limit}
    command = [str(Path(sysconfig.get_path("scripts")) / "fairseq-validate"), corpus]
    command += ["--user-dir", USER_DIR, "--path", str(checkpoint)]
    command += ["--task", "masked_lm", "--criterion", "masked_lm", "--valid-subset", "valid"]
    command += ["--skip-invalid-size-inputs-valid-test", "--log-format", "simple"]
    command += ["--batch-size", str(max(PIECES // length, 1)), "--model-overrides", str(overrides)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"valid on 'valid' subset \| loss ([0-9.]+)", done.stdout + done.stderr)
    if done.returncode or not found:
        sys.exit(f"error: {checkpoint} at {length}: {(done.stderr.strip() or 'no loss')[-500:]}")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", help="made by data-prep/wikitext.sh: the folder bin")
    parser.add_argument("checkpoints", nargs="+", type=named, metavar="NAME=CHECKPOINT")
    parser.add_argument("--lengths", nargs="+", type=int, default=[24, 64, 128, 512])
    parser.add_argument("--limit", type=int, default=512, help="the model's own maximum length")
    args = parser.parse_args()
    print("# Masked words, by the length of blocks\n")
    print(
        "Bits a masked token on the validation set, in blocks of whole sentences of up to so many"
    )
    print("pieces; longer sentences are left out.\n")
    print("| row | " + " | ".join(map(str, args.lengths)) + " |")
    print("|---" * (1 + len(args.lengths)) + "|", flush=True)
    for name, checkpoint in args.checkpoints:
        losses = [loss(args.corpus, checkpoint, length, args.limit) for length in args.lengths]
        print(f"| {name} | " + " | ".join(f"{bits:.2f}" for bits in losses) + " |", flush=True)


if __name__ == "__main__":
    main()
