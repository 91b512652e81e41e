"""Count the lines that each program translates like fairseq with the plugin, by kind of positions.

A trained model with sinusoids is trained further with each kind for some updates, because the
translations of a model with random weights never end. Then each is compared as in exported.py.

    python recipes/benchmarks/exported_kinds.py CHECKPOINT DATA --runs FOLDER > exported_kinds.md

CHECKPOINT is of a floater_transformer_tiny with shared embeddings. Results that are already in
FOLDER are not made again. Needs the extra `test`.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from pathlib import Path

import torch
from exported import Compared, compared, parser_of, read_corpus
from translating import FAIRSEQ, PLUGIN, exported

from fairseq_floater.checkpoints.files import read_checkpoint
from fairseq_floater.training.save_folder import updates_of

INPUT = "--position-blocks input --position-injection additive"
KINDS = {
    "floater, biases": "--position-encoder floater",
    "floater, biases, `mlp`": "--position-encoder floater --dynamics mlp",
    "floater, additive at the input": f"--position-encoder floater {INPUT}",
    "floater, additive at all blocks": "--position-encoder floater --position-injection additive",
    "floater as rotation": "--position-encoder floater --position-injection rotation",
    "floater as scores": "--position-encoder floater --position-injection scores",
    "floater on rotary": "--position-encoder floater --base-positions rotary",
    "rnn, additive at the input": f"--position-encoder rnn {INPUT}",
    "learned, additive at the input": f"--position-encoder learned {INPUT}",
    "sinusoidal at the input": "--position-encoder sinusoidal --position-blocks input",
    "none": "--position-encoder none",
    "rotary": "--position-encoder rotary",
    "rotary, also in cross-attention": "--position-encoder rotary --position-attention both",
    "relative-bias": "--position-encoder relative-bias",
    "shaw": "--position-encoder shaw",
    "shaw, vectors for each head": "--position-encoder shaw --shaw-per-head",
    "alibi": "--position-encoder alibi",
    "fire": "--position-encoder fire",
    "fourier, biases": "--position-encoder fourier",
}

HEAD = """\
# Every kind of positions in every program

Lines of `{subset}` that each program translates as fairseq with the plugin does, of {lines:,}: a
tiny model is trained further with each kind for {updates} updates. Beam {beam}, scores divided by
length ** {lenpen}; ONNX Runtime and torch's program take the likeliest word, and so does fairseq
where they are compared with it.
In brackets, where lines differ: the largest difference between their scores in fairseq. A `-` means
that the export is refused. In 8 bits, weights are rounded. Printed by
`recipes/benchmarks/exported_kinds.py`.
"""

TRAINING = """\
--arch floater_transformer_tiny --share-all-embeddings --dropout 0.3 --optimizer adam --lr 1e-3
--criterion label_smoothed_cross_entropy --label-smoothing 0.1 --max-tokens 4096 --seed 1
--required-batch-size-multiple 1 --num-workers 0 --disable-validation --no-epoch-checkpoints
"""


def train(base: Path, data: Path, flags: str, updates: int, folder: Path) -> Path:
    """Train a model from ``base`` with these positions, and return its checkpoint."""
    last, first = folder / "checkpoint_last.pt", folder / "first/checkpoint_last.pt"
    program = Path(sysconfig.get_path("scripts")) / "fairseq-train"
    command = [program, data / "bin", "--user-dir", PLUGIN, *TRAINING.split(), *flags.split()]
    folder.mkdir(parents=True, exist_ok=True)

    def go_on(place: Path, updates: int, *options: object) -> None:
        words = [*command, "--save-dir", place, "--max-update", updates, *options]
        with open(folder / "train.log", "a") as log:
            subprocess.run([str(w) for w in words], stdout=log, stderr=log, check=True)

    if last.exists() and updates_of(last) >= updates:  # one that was interrupted made fewer
        return last
    if "additive" not in flags:
        go_on(folder, updates, "--finetune-from-model", base)
        return last
    # --finetune-from-model refuses to change the vectors at the input: copy all other weights here.
    first.unlink(missing_ok=True)
    go_on(first.parent, 1)
    state, trained = read_checkpoint(str(first)), read_checkpoint(str(base))["model"]
    same = {n: w for n, w in trained.items() if w.shape == state["model"].get(n, w[:0]).shape}
    torch.save({**state, "model": {**state["model"], **same}}, first)
    go_on(folder, updates, "--restore-file", first, "--reset-optimizer", "--reset-dataloader")
    return last


def cell(it: "Compared | str") -> str:
    if isinstance(it, str):
        return "-"
    return f"{it.same:,}" if it.same == it.of else f"{it.same:,} ({it.apart:.0e})"


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--updates", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.set_defaults(timed=0)
    args = parser.parse_args()
    read_corpus(args)
    base = args.checkpoint
    start = f"{base.resolve()} {args.data.resolve()}"
    runs = args.runs / f"{zlib.crc32(start.encode()):08x}"  # of this model and corpus
    print(HEAD.format(**{**vars(args), "lines": len(args.sources)}))
    names = None
    for kind in args.kinds:
        flags = KINDS[kind]
        folder = runs / "-".join([*flags.replace("--", "").split(), str(args.updates)])
        args.checkpoint = train(base, args.data, flags, args.updates, folder)
        search = f"{args.beam}-{args.lenpen}-{args.longest}"
        row = folder / f"{args.subset}-{len(args.sources)}-{search}.json"
        if not row.exists():
            with tempfile.TemporaryDirectory() as place:
                found = dict(compared(args, exported(args, Path(place))))
            cells = {name: cell(it) for name, it in found.items() if not name.startswith(FAIRSEQ)}
            row.write_text(json.dumps(cells))
        cells = json.loads(row.read_text())
        if names is None:
            names = [*cells]
            print(f"| positions | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        print(f"| {kind} | {' | '.join(cells[name] for name in names)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
