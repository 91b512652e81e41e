"""Score a run and write its record, from its logs, the corpus and the checkpoint."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Tuple, Union

from fairseq_floater.checkpoints.loading import (
    Loaded,
    LoadedTranslation,
    load_model,
    load_translation_model,
)
from fairseq_floater.errors import UserError
from fairseq_floater.files import write_text
from fairseq_floater.inspection.encoders import count_parameters, solver_errors
from fairseq_floater.models.positioned import PositionedModel
from fairseq_floater.results.generation import read_generation, read_lines
from fairseq_floater.results.lengths import by_subwords, by_words
from fairseq_floater.results.record import Record, references_path
from fairseq_floater.results.scores import EvaluationSet, score, signatures, without_separator
from fairseq_floater.results.training import read_training


def score_run(
    run: Path,
    data: Path,
    out: Path,
    name: str,
    checkpoint: Path,
    tests: Sequence[str],
    order: int = 0,
    seed: int = 1,
    edges: Sequence[int] = (),
    relative: Sequence[float] = (),
    compound_split: bool = False,
) -> Record:
    """Score a run and write its record, with the references beside it.

    Args:
        run: folder with ``train.log`` and, for each test set, ``generate.TEST.log``.
        data: a corpus as ``data-prep`` leaves it.
        out: folder of the records.
        name: EXPERIMENT/PAIR/ROW.
        checkpoint: the checkpoint that generated the translations.
        tests: names of the test sets.
        order: of the row in its table.
        seed: of the training.
        edges: upper ends of length bins, in source words.
        relative: the same in source subwords, relative to training; see ``by_subwords``.
        compound_split: also compute tokenised BLEU with compounds split.

    Raises:
        UserError: if something is missing or does not fit.
    """
    record, model = unscored(run, name, checkpoint, order, seed, load_translation_model)
    corpus = _read_corpus(data)
    record.signatures = signatures(corpus["lowercase"])
    record.solver_errors = solver_errors(model)
    for test in tests:
        test_set = _read_test_set(data, corpus, test)
        # fairseq leaves room for the end of the sentence.
        longest = model.stacks()["decoder"].max_positions() - 1
        translations = read_generation(run / f"generate.{test}.log", longest)
        sorted_by = [by_words(test_set.source, edges)] if edges else []
        if relative:
            sorted_by.append(by_subwords(data, corpus["source"], test, relative))
        record.tests[test] = score(translations, test_set, sorted_by, compound_split)
        reference = references_path(out, record.pair, test)
        write_text(reference, "".join(f"{line}\n" for line in test_set.reference))
    record.write(out)
    return record


def unscored(
    run: Path,
    name: str,
    checkpoint: Path,
    order: int,
    seed: int,
    load: Callable[[Path], Union[Loaded, LoadedTranslation]] = load_model,
) -> Tuple[Record, PositionedModel]:
    """Return a run's record without scores (what was trained and what it cost) and its model.

    Args:
        run: folder with ``train.log``.
        name: EXPERIMENT/PAIR/ROW.
        checkpoint, order, seed: as for ``score_run``.
        load: reads the checkpoint, and refuses models of another kind than is scored.

    Raises:
        UserError: if something is missing or does not fit.
    """
    if name.count("/") != 2:
        raise UserError(f"--name is {name!r}: give it as EXPERIMENT/PAIR/ROW")
    experiment, pair, row = name.split("/")
    training = read_training(run / "train.log")
    _, config, model = load(checkpoint)
    record = Record(
        experiment=experiment,
        pair=pair,
        row=row,
        order=order,
        seed=seed,
        options=config.in_force(),
        tests={},
        signatures={},
        machine=training.pop("machine", ""),
        commands=_commands(run),
        training=training,
        position_parameters=count_parameters(model),
    )
    return record, model


def _commands(run: Path) -> Dict[str, str]:
    """Return what a recipe has kept about how a run was trained and translated, by step."""
    paths = {"train": run / "train.command", "duration": run / "train.done"}
    for step in ("generate", "predict"):
        paths |= {path.stem: path for path in sorted(run.glob(f"{step}.*.done"))}
    return {step: path.read_text("utf-8").strip() for step, path in paths.items() if path.is_file()}


def _read_corpus(data: Path) -> Dict[str, Any]:
    path = data / "corpus.json"
    try:
        corpus = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        raise UserError(f"{path} is missing or broken: prepare the corpus again") from None
    if not isinstance(corpus, dict):
        raise UserError(f"{path} is broken: prepare the corpus again")
    if missing := {"source", "target", "tokenizer", "lowercase"} - corpus.keys():
        raise UserError(f"{path} lacks {', '.join(sorted(missing))}: prepare the corpus again")
    return corpus


def _read_test_set(data: Path, corpus: Dict[str, Any], test: str) -> EvaluationSet:
    source, target = corpus["source"], corpus["target"]
    tokenised = None
    if corpus["tokenizer"] is not None:
        tokenised = read_lines(data / "tok" / f"{test}.{target}")
    separator = corpus.get("separator")
    raw = {
        language: [
            without_separator(line, separator)
            for line in read_lines(data / "raw" / f"{test}.{language}")
        ]
        for language in (source, target)
    }
    return EvaluationSet(
        source=raw[source],
        reference=raw[target],
        tokenised=tokenised,
        language=target,
        lowercase=corpus["lowercase"],
        separator=separator,
    )
