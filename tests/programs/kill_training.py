"""Kill a small training at random moments, resume it, and compare it with one left alone.

    python tests/programs/kill_training.py --kills 50 [--folder FOLDER] [--seed N]

Each training is killed once, by SIGKILL to its process group: every other one at any time, the
others at a random moment after they have begun to write their n-th checkpoint. Then the training is
run again until it ends. The parameters and the optimizer's state in its last and its best
checkpoint must equal those of a training that was not killed, bit for bit. If this script is
stopped, it resumes where it was when it is run with the same folder and seed. The exit code is 1 if
any training differs or leaves a part of a file.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from commands import TRAINING, make_corpus  # noqa: E402
from launching import FORKED, environment, fork_server, run, succeed  # noqa: E402

from fairseq_floater.commands.arguments import at_least_one  # noqa: E402

FLAGS = [
    *(*TRAINING, "--arch", "floater_transformer", "--dropout", 0.2, "--encoder-layerdrop", 0.2),
    *("--update-epoch-batch-itr", "True", "--save-interval-updates", 2, "--max-update", 24),
    *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", 8),
]
SAVES = 30  # about as many files as a training writes


def prepare(folder):
    """Make the corpus and the unkilled training; return how many seconds the latter took."""
    if not (folder / "seconds").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "corpus").mkdir(parents=True)
        make_corpus(folder / "corpus")
        begin = time.monotonic()
        succeed(*training(folder, "unkilled"))
        (folder / "seconds").write_text(str(time.monotonic() - begin))
    return float((folder / "seconds").read_text())


def training(folder, name):
    return ["train", folder / "corpus" / "data", *FLAGS, "--save-dir", folder / name]


def begin(name, *arguments):
    """Start a program in a process group of its own, without reading what it prints."""
    program = Path(sysconfig.get_path("scripts")) / f"fairseq-{name}"
    return subprocess.Popen(
        [str(part) for part in (*FORKED, program, *arguments)],
        env=environment(FORK_SERVER=fork_server()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait(process, save_dir, moment, seconds):
    """Wait until it is time to kill, or the training has ended."""
    end = time.monotonic() + (moment["after"] * seconds if moment["write"] is None else 60)
    seen = set()
    while process.poll() is None and time.monotonic() < end:
        if moment["write"] is None:
            time.sleep(max(0, min(0.01, end - time.monotonic())))
            continue
        seen |= {path.name for path in save_dir.glob(".*.part")}
        if len(seen) >= moment["write"]:
            time.sleep(moment["after"] * 0.003)  # about as long as it takes to write one
            return


def kill(folder, number, generator, seconds):
    """Kill one training, let it end, and say what was found."""
    save_dir = folder / "killed"
    shutil.rmtree(save_dir, ignore_errors=True)
    at_write = generator.randint(1, SAVES) if number % 2 else None
    moment = {"write": at_write, "after": generator.random()}
    with begin(*training(folder, "killed")) as process:
        wait(process, save_dir, moment, seconds)
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
    time.sleep(0.1)  # it is the fork server that kills the program
    names = sorted(path.name for path in save_dir.glob("*")) if save_dir.exists() else []
    again = run(*training(folder, "killed"))
    found = {
        "ended before": ended,
        "nothing saved yet": not any(name.endswith(".pt") for name in names),
        "inside a save": any(name.endswith(".part") for name in names),
        "went on from another": "resuming from the newest whole" in again.out,
        "failed": again.returncode != 0,
        "leftovers": bool(list(save_dir.glob(".*")) if save_dir.exists() else []),
    }
    equal = not found["failed"] and same(save_dir, folder / "unkilled")
    return moment | {"number": number, "names": names} | found | {"differs": not equal}


def same(one, other):
    names = ("checkpoint_last.pt", "checkpoint_best.pt")
    return all(same_checkpoint(one / name, other / name) for name in names)


def same_checkpoint(one, other):
    one, other = (torch.load(path, weights_only=True) for path in (one, other))
    return all(equal(one[name], other[name]) for name in ("model", "last_optimizer_state"))


def equal(one, other):
    """True if these dictionaries and lists have the same numbers in the same places."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=at_least_one, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/killed"))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    seconds = prepare(args.folder.resolve())
    log = args.folder / f"kills.{args.seed}.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number in range(len(done), args.kills):
        generator = random.Random(f"{args.seed}.{number}")
        done.append(kill(args.folder.resolve(), number, generator, seconds))
        with log.open("a") as file:
            print(json.dumps(done[-1]), file=file)
    counts = Counter(name for one in done for name, value in one.items() if value is True)
    print(f"{len(done)} trainings were killed, {len(done) - counts['differs']} ended the same")
    for name in (name for name, value in done[0].items() if isinstance(value, bool)):
        print(f"{counts[name]:6} {name}")
    sys.exit(bool(counts["differs"] or counts["leftovers"]))


if __name__ == "__main__":
    main()
