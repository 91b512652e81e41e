"""Checkpoints of small models, as fairseq saves them, but without training."""

from argparse import Namespace

import torch
from conftest import SMALL, make_model, make_stock
from fairseq.models import ARCH_CONFIG_REGISTRY


def state_of(model, options, arch):
    """Return what a model's checkpoint holds; ``options`` differ from the defaults of ``arch``."""
    args = Namespace(arch=arch, task="translation", criterion="cross_entropy", **options)
    ARCH_CONFIG_REGISTRY[arch](args)
    return {
        "args": args,
        "cfg": None,
        "model": model.state_dict(),
        "optimizer_history": [{"num_updates": 3, "criterion_name": "", "best_loss": 1.0}],
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.ones(2)}}},
        "extra_state": {"epoch": 1},
        "task_state": {},
    }


def save_floater(path, *, seed=0, change=None, **options):
    """Save a checkpoint of ``make_model``; ``change`` may alter its state before it is written."""
    model = make_model(seed=seed, **options)
    known = {name: value for name, value in model.options.items() if name != "_name"}
    return _save(state_of(model, known, "floater_transformer"), path, change)


def save_stock(path, *, seed=0, change=None, **options):
    """Save a checkpoint of ``make_stock``."""
    model = make_stock(seed=seed, **options)
    return _save(state_of(model, {**SMALL, **options}, "transformer"), path, change)


def _save(state, path, change):
    if change is not None:
        change(state)
    torch.save(state, path)
    return path
