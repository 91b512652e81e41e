"""Compare masked language models on blocks of several lengths.

Prints the loss of fairseq-validate on the validation set, in bits per token, for checkpoints of the
first stage (see docs/understanding.md). For each length, the set is cut again into blocks of whole
sentences with at most that many pieces. Longer sentences are left out, so columns differ in their
pieces: compare rows within a column only.

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

#: most pieces in a batch of fairseq-validate
PIECES = 8192


def named(text: str) -> Tuple[str, Path]:
    """Parse NAME=CHECKPOINT."""
    name, _, path = text.partition("=")
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(
            f"must be NAME=CHECKPOINT, where CHECKPOINT is a file, got {text}"
        )
    return name, Path(path)


def loss(corpus: str, checkpoint: Path, length: int, limit: int) -> float:
    """Return the loss in bits per masked token, on blocks of up to ``length`` pieces.

    ``limit`` is the model's own maximum length.
    """
    overrides = {"tokens_per_sample": length, "max_positions": limit}
    command = [str(Path(sysconfig.get_path("scripts")) / "fairseq-validate"), corpus]
    command += ["--user-dir", USER_DIR, "--path", str(checkpoint)]
    command += ["--task", "masked_lm", "--criterion", "masked_lm", "--valid-subset", "valid"]
    command += ["--skip-invalid-size-inputs-valid-test", "--log-format", "simple"]
    command += ["--batch-size", str(max(PIECES // length, 1)), "--model-overrides", str(overrides)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"valid on 'valid' subset \| loss ([0-9.]+)", done.stdout + done.stderr)
    if done.returncode or not found:
        why = (done.stderr.strip() or "it printed no loss").splitlines()[-1]
        sys.exit(f"error: {checkpoint} in blocks of {length}: {why}")
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", help="the folder bin that data-prep/wikitext.sh has made")
    parser.add_argument("checkpoints", nargs="+", type=named, metavar="NAME=CHECKPOINT")
    parser.add_argument("--lengths", nargs="+", type=int, default=[24, 64, 128, 512])
    parser.add_argument("--limit", type=int, default=512, help="the model's own maximum length")
    args = parser.parse_args()
    print("# Masked words, by the length of blocks\n")
    print("Bits per masked token on the validation set, in blocks of whole sentences. Columns give")
    print("the most pieces of a block; longer sentences are left out.\n")
    print("| row | " + " | ".join(map(str, args.lengths)) + " |")
    print("|---" * (1 + len(args.lengths)) + "|", flush=True)
    for name, checkpoint in args.checkpoints:
        losses = [loss(args.corpus, checkpoint, length, args.limit) for length in args.lengths]
        print(f"| {name} | " + " | ".join(f"{bits:.2f}" for bits in losses) + " |", flush=True)


if __name__ == "__main__":
    main()
