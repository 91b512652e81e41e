"""``recipes/run.sh``: what it would run, and a whole row on a corpus of a few lines."""

import gzip
import hashlib
import json
import random
import re
import shlex
import shutil
from dataclasses import fields

import pytest
from fairseq import options
from launching import bash
from places import ROOT, TESTS

from fairseq_floater.encoders.base import Wanted
from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.encoders.relative_bias import RelativeBiasEncoder
from fairseq_floater.models.config import validate_model
from fairseq_floater.models.kinds import kind_of
from fairseq_floater.options import PositionOptions

STAGES = ["prepare", "train", "average", "generate", "score", "report"]


def run(*arguments, **variables):
    return bash(ROOT / "recipes/run.sh", *arguments, variables=variables)


def words(text):
    """A printed command as one line of words."""
    return re.sub(r"\s*\\\n\s*", " ", text)


EXPERIMENTS = run("--list").stdout.split()


def test_all_experiments_are_there():
    """The paper's tables and figures, at full scale and at small scale."""
    wanted = {
        f"{name}_{scale}"
        for name in ("table2", "table6", "figure2", "figure3")
        for scale in ("base", "tiny", "small", "bible")
    }
    assert wanted | {"table2_big", "table2_iwslt14", "warm_tiny"} <= set(EXPERIMENTS)


#: flags that a row may have: those of its model and of its positions
OF_ROWS = {"--arch", *(flag_name(option.name) for option in fields(PositionOptions))}
#: flags of rows and of protocols that fairseq's parser has accepted
SEEN = set()


def trainings(text):
    """Yield every command that trains, as typed, with its seeds and folders replaced."""
    for command in re.findall(r"^fairseq-train \S+(.*)", words(text), re.MULTILINE):
        command = re.sub(r"(?<=--seed )\d+", "1", command)
        command = re.sub(r"(?<=--save-dir |from-model )\S+", "folder", command)
        typed = shlex.split(command)
        place = typed.index("--user-dir")
        assert typed[place + 1] == "fairseq_floater"
        del typed[place : place + 2]  # it is imported already
        twice = {flag for flag in typed if flag.startswith("--") and typed.count(flag) > 1}
        assert twice <= {"--dynamics-lr-scale"}, "only a row may overrule its protocol's dynamics"
        yield typed


def parsed(typed):
    """Parse a command with fairseq's own parser; return None if both its parts were parsed before.

    The parts are the flags of a row and those of its protocol. Parsing every combination would take
    half a minute.
    """
    flags = re.split(r"(?<=\S) (?=--)", " ".join(typed))
    of_row = {flag for flag in flags if flag.split()[0] in OF_ROWS}
    architecture = next(flag for flag in of_row if flag.startswith("--arch "))
    parts = {frozenset(of_row), frozenset({*flags} - of_row | {architecture})}
    if parts <= SEEN:
        return None
    SEEN.update(parts)
    return options.parse_args_and_arch(options.get_training_parser(), ["data", *typed])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_row_can_be_shown_and_is_what_fairseq_takes(experiment):
    every = run(experiment, "--list").stdout.splitlines()
    assert every and all(line.startswith(f"{experiment}/") for line in every)
    seed = every[0].split()[1]  # seeds differ in nothing but their number
    rows = [line for line in every if line.split()[1] == seed]
    done = run(experiment, "--dry-run", "--seed", seed)
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout
    assert "--max-len-b" in done.stdout or "--finetune-from-model" in done.stdout
    for name in (row.split()[0] for row in rows):
        stages = re.findall(rf"^\[.*\] {name}, seed {seed}: (\w+)", done.stdout, re.MULTILINE)
        assert set(stages) == set(STAGES[:-1])  # a base row's training may come before its turn
    count = 0
    for typed in trainings(done.stdout):
        count += 1
        assert "--required-batch-size-multiple" in typed
        args = parsed(typed)
        if args is None:
            continue
        kind = kind_of(vars(args))
        assert args.arch.startswith(f"{kind.name}_")
        if args.position_encoder not in ("floater", "rnn", "fourier"):
            assert "--dynamics-lr-scale" not in typed
        config = kind.model.Config.of(args)
        validate_model(config)
        if "relative-bias" in (config.position_encoder, config.base_positions):
            RelativeBiasEncoder.from_options(config, Wanted(1, 8, "scores", causal=True))
    assert count >= len(rows)


def test_the_protocol_of_the_paper():
    """Base model at 7e-4, then FLOATER from its averaged checkpoint at half of that."""
    text = words(run("table2_base/en-de/floater-all-warm", "--dry-run").stdout)
    base, warm = re.findall(r"^fairseq-train .*", text, re.MULTILINE)
    assert "--position-encoder sinusoidal" in base and "--lr 7e-4" in base
    assert "--max-epoch 30" in base and "--finetune-from-model" not in base
    assert "--position-encoder floater" in warm and "--lr 3.5e-4" in warm
    assert "--max-epoch 10" in warm
    averages = re.findall(r"floater average \S+ --last 5 --out (\S+)", text)
    assert f"--finetune-from-model {averages[0]}" in warm
    assert "--beam 4 --lenpen 0.6" in text


def test_stages_seeds_and_launcher():
    text = run("table2_tiny/en-fr/learned-input", "--dry-run", "--seed", 7, "--stage", 2,
               "--stop-stage", 3, "--launcher", "torchrun --nproc_per_node 8",
               "--train", "--fp16 --update-freq 2").stdout  # fmt: skip
    assert re.findall(r"seed 7: (\w+)", text) == ["train", "average"]
    command = re.search(r"^torchrun .*", words(text), re.MULTILINE)[0]
    assert "torchrun --nproc_per_node 8 .venv/bin/fairseq-train" in command
    assert command.endswith("--fp16 --update-freq 2") and "--seed 7" in command
    assert "/en-fr/learned-input/seed7" in command


def test_flags_of_fine_tuning_are_not_those_of_the_first_stage():
    """A documented command has both."""
    page = (ROOT / "docs/understanding.md").read_text()
    command = re.search(r"^bash recipes/run.sh (table3_base/rte/.*)$", page, re.MULTILINE)[1]
    command = shlex.split(command.replace('-stage1 "--fp16"', '-stage1 "--bf16"'))
    done = run(*command, "--dry-run").stdout
    (first,) = re.findall(r"^bash recipes/run.sh stage1_.*$", words(done), re.MULTILINE)
    assert "--train --bf16" in first and "--fp16" not in first
    (train,) = re.findall(r"^fairseq-train .*$", words(done), re.MULTILINE)
    assert train.endswith("--fp16")


def test_a_seed_of_a_table_is_of_rows_without_their_own():
    """Except for a row that is named: base again is base with other seeds."""
    for seed in (1, 7):
        listed = run("glue_minilm/rte", "--seed", seed, "--list").stdout
        assert f"glue_minilm/rte/base {seed}\n" in listed and "base-again" not in listed
    listed = run("glue_minilm/rte", "--list").stdout.split("\n")
    assert "glue_minilm/rte/base-again 10" in listed and "glue_minilm/rte/base 5" in listed
    again = "glue_minilm/rte/base-again"
    assert run(again, "--seed", 11, "--list").stdout == f"{again} 11\n"


def test_a_whole_table_goes_row_by_row():
    text = run("table2_tiny", "--dry-run", "--stage", 4).stdout
    rows = list(dict.fromkeys(re.findall(r"table2_tiny/(\S+), seed", text)))
    assert len(rows) == 12 and rows[0] == "en-de/floater-all" and rows[-1] == "en-fr/learned-input"
    assert text.count("floater report") == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name an experiment: one of"),
        (["table9"], "no experiment table9: choose from"),
        (["table2_tiny/en-ru"], "no language pair en-ru in table2_tiny: choose from en-de en-fr"),
        (
            ["peers_bible_joined/en-es/shaw"],
            "no row shaw in peers_bible_joined: choose",
        ),
        (["table2_tiny/en-de/x"], "no row x in table2_tiny: choose from floater-all"),
        (["table2_tiny/en-de/floater-all/1"], "has a part too many: name EXPERIMENT/PAIR/ROW"),
        (
            ["table2_tiny", "--stage", "0"],
            "--stage must be a whole number from 1 to 999,999,999, got 0",
        ),
        (["table2_tiny", "--stop-stage", "7"], "stages run from 1 to 6, got 1 to 7"),
        (["table2_tiny", "--seed"], "--seed needs a value"),
        (["table2_tiny", "--sed", "1"], "unknown option --sed"),
        (["table2_tiny", "table6_tiny"], "one experiment or row at a time"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr


COUNTS = {"train": 80, "val": 8, "test_2016_flickr": 6, "test_2017_flickr": 5}


def write_mirror(folder):
    """Write Multi30k's files with a few lines of toy text, laid out as a DATA_MIRROR."""
    generator, sums = random.Random(0), []
    place = folder / "raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
    place.mkdir(parents=True)
    for name, count in COUNTS.items():
        lines = [generator.choices("Ein Hund und eine Katze .".split(), k=7) for _ in range(count)]
        for language, words in (("en", lines), ("de", [line[::-1] for line in lines])):
            path = place / f"{name}.{language}.gz"
            path.write_bytes(gzip.compress("".join(" ".join(w) + "\n" for w in words).encode()))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            sums.append(f"{digest}  {path.relative_to(folder)}\n")
    (folder / "sums").write_text("".join(sums))


#: sizes of models for so small a corpus
SMALL = " ".join(
    f"--{stack}-{size}"
    for stack in ("encoder", "decoder")
    for size in ("layers 2", "embed-dim 16", "ffn-embed-dim 16")
)
SHORT = f"--max-update 6 --cpu {SMALL}"


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """All rows of warm_tiny, two at a time: base model, the same for longer, FLOATER from it."""
    runs, mirror = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("mirror")
    write_mirror(mirror)
    prepare = [ROOT / "data-prep/multi30k.sh", "--out", runs / "data/multi30k.en-de"]
    prepare += ["--checksums", mirror / "sums", "--size", 20, "--workers", 1]
    assert bash(*prepare, variables={"DATA_MIRROR": mirror}).returncode == 0
    # Models that have learned nothing generate up to the last token that is allowed.
    programs = tmp_path_factory.mktemp("programs") / "programs.sh"
    programs.write_text(
        f"source {TESTS}/fork_programs.sh\n"
        'fairseq-generate() { forked fairseq-generate "$@" --max-len-b 5; }\n'
    )
    options = ["--runs", runs, "--stage", 2, "--jobs", 2]
    variables = {"BASH_ENV": programs, "WITHOUT_CHECKPOINTS": 1}
    return runs, run("warm_tiny", *options, "--train", SHORT, **variables)


def test_a_table_from_training_to_report(warm):
    runs, done = warm
    assert done.returncode == 0, done.stderr
    text = (runs / "warm_tiny/table.md").read_text()
    for row in ("sinusoidal-input", "sinusoidal-input-longer", "floater-all-warm"):
        result = json.loads((runs / f"warm_tiny/en-de.{row}.seed1.json").read_text())
        assert list(result["tests"]) == ["test2016", "test2017"]
        assert [len(t["hypotheses"]) for t in result["tests"].values()] == [6, 5]
        assert result["training"]["updates"] == 6
        assert result["commands"]["duration"].startswith("--max-")
        assert f"| {row} |" in text
    assert "case:lc" in text and "p bootstrap" in text
    assert (runs / "warm_tiny/table.png").read_bytes().startswith(b"\x89PNG")


def test_warm_start_goes_on_from_the_average_of_the_base_model(warm):
    runs, _ = warm
    folder = runs / "multi30k_tiny/en-de"
    base = (folder / "sinusoidal-input/seed1/train.log").read_text()
    logs = {
        row: (folder / row / "seed1/train.log").read_text()
        for row in ("floater-all-warm", "sinusoidal-input-longer")
    }
    first = {row: float(re.search(r"nll_loss ([\d.]+)", log)[1]) for row, log in logs.items()}
    last = float(re.findall(r"valid on.*nll_loss ([\d.]+)", base)[-1])
    for row, loss in first.items():
        assert "loading pretrained model from" in logs[row] and loss < last + 0.3
    assert (folder / "sinusoidal-input/seed1/train.log").read_text().count("done training") == 1


def test_what_is_done_is_not_done_again(warm):
    """This also holds for a folder that was moved: nothing in it says where it was.

    Only averages are kept of the checkpoints.
    """
    runs, _ = warm
    assert {path.name for path in runs.rglob("*.pt")} == {"average.pt"}
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.log")}
    moved = runs.rename(runs.with_name("moved"))
    try:
        options = ["--runs", moved, "--stage", 2, "--train", SHORT]
        again = run("warm_tiny/en-de/floater-all-warm", *options)
    finally:
        moved.rename(runs)
    assert again.returncode == 0, again.stderr
    # train and average of the base model; train, average, twice generate, score of the row
    assert again.stdout.count("done already") == 7
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.log")} == before


def test_a_failing_row_does_not_stop_the_others(warm):
    """The report of the rows that are there is still made."""
    runs, _ = warm
    log = runs / "multi30k_tiny/en-de/sinusoidal-input-longer/seed1/generate.test2017.log"
    whole = log.read_text()
    log.write_text("")
    (log.parent / "score.warm_tiny.done").unlink()
    done = run("warm_tiny", "--runs", runs, "--stage", 5, "--train", SHORT)
    log.write_text(whole)
    assert done.returncode == 1 and "some rows failed" in done.stderr
    assert "is incomplete" in done.stderr and "table.md" in done.stdout


def goes_on(runs, first, last, updates, train=f"--max-tokens 250 {SMALL}"):
    """Run stages of the quick start's row. With these flags, an epoch has several updates."""
    stages = ["--stage", first, "--stop-stage", last, "--train", train]
    return run("quickstart/en-de/floater", "--runs", runs, *stages, UPDATES=str(updates))


@pytest.fixture(scope="module")
def trained_twice(warm, tmp_path_factory):
    """Return the runs folder, that of the quick start's row, the last result and a time.

    The row was trained for two updates and then for a third, both times up to its scores. The time
    is that of the first translation.
    """
    runs = tmp_path_factory.mktemp("goes on")
    data = runs / "data/localisation.en-de"
    shutil.copytree(warm[0] / "data/multi30k.en-de", data)
    for path in data.glob("*/test2016.*"):
        path.rename(path.with_stem("test"))
    description = json.loads((data / "corpus.json").read_text())
    (data / "corpus.json").write_text(json.dumps({**description, "tests": ["test"]}))
    folder = runs / "quickstart/en-de/floater/seed1"
    first = goes_on(runs, 2, 5, 2)
    assert first.returncode == 0, first.stderr
    translated = (folder / "generate.test.log").stat().st_mtime_ns
    return runs, folder, goes_on(runs, 2, 5, 3), translated


def test_more_updates_go_on_and_are_translated_anew(trained_twice):
    """Training resumes from the last checkpoint, and the old translations are replaced."""
    runs, folder, done, translated = trained_twice
    assert done.returncode == 0, done.stderr
    assert "Loaded checkpoint" in (folder / "train.log").read_text()
    assert (folder / "generate.test.log").stat().st_mtime_ns > translated
    result = json.loads((runs / "quickstart/en-de.floater.seed1.json").read_text())
    assert result["training"]["updates"] == 3


def test_a_shorter_training_than_was_made_is_refused(trained_twice):
    done = goes_on(trained_twice[0], 2, 2, 2)
    assert done.returncode == 1 and "3 updates, 2 are wanted" in done.stderr


def test_what_was_deleted_is_made_again(trained_twice):
    runs, folder, *_ = trained_twice
    log = folder / "generate.test.log"
    whole = log.read_text()
    log.unlink()
    done = goes_on(runs, 3, 4, 3)
    assert done.returncode == 0 and "done already: average" in done.stdout, done.stderr
    assert [line for line in log.read_text().split("\n") if line.startswith("H-")] == [
        line for line in whole.split("\n") if line.startswith("H-")
    ]


def test_another_command_or_corpus_does_not_go_on(trained_twice):
    runs, *_ = trained_twice
    done = goes_on(runs, 2, 6, 3, train=f"--max-tokens 250 {SMALL} --lr 1e-4")
    assert done.returncode == 1 and "was trained with another command, corpus" in done.stderr
    # The same command, but a corpus with other words in its dictionary.
    dictionary = runs / "data/localisation.en-de/bin/dict.en.txt"
    whole = dictionary.read_text()
    dictionary.write_text(whole.replace("\n", " #overwrite\n", 1))
    done = goes_on(runs, 2, 2, 3)
    dictionary.write_text(whole)
    assert done.returncode == 1 and "was trained with another command, corpus" in done.stderr


def test_another_test_set_is_translated_anew(trained_twice):
    runs, folder, *_ = trained_twice
    assert goes_on(runs, 3, 5, 3).returncode == 0
    log = folder / "generate.test.log"
    before = log.stat().st_mtime_ns
    for path in (runs / "data/localisation.en-de/bin").glob("test.*"):
        path.touch()
    done = goes_on(runs, 3, 5, 3)
    assert done.returncode == 0 and done.stdout.count("done already") == 1, done.stderr
    assert log.stat().st_mtime_ns > before


def test_an_incomplete_translation_is_refused(trained_twice):
    runs, folder, *_ = trained_twice
    log = folder / "generate.test.log"
    whole = log.read_text()
    log.write_text("\n".join(line for line in whole.split("\n") if not line.startswith("H-3\t")))
    (folder / "score.quickstart.done").unlink()
    done = goes_on(runs, 5, 6, 3)
    log.write_text(whole)
    assert done.returncode == 1 and "delete it and generate again" in done.stderr
