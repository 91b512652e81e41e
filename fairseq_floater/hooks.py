"""Everything the plugin changes in fairseq and torch while it is loaded, each with its reason.

``install`` is called once, when the package is imported. Nothing else in the package assigns to a
name of another library. Models and architectures are not here: registering them is what fairseq
offers plugins. Nor are the limits of a task, which a model lifts when it is built for it
(``models.limits``).
"""

import argparse
import atexit
import functools
import sys
from typing import Any, Callable, List, NamedTuple, Sequence

import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin
from fairseq.trainer import Trainer
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from fairseq_floater.checkpoints.files import (
    broadcast_pickled,
    remembering_across_processes,
    remembering_options,
)
from fairseq_floater.errors import flush_quietly, showing_one_line
from fairseq_floater.training.corpus import Sentences, checking_text, refusing_useless
from fairseq_floater.training.cost import log_cost
from fairseq_floater.training.divergence import explaining_divergence
from fairseq_floater.training.levers import (
    after_step,
    before_step,
    hand_on_shares,
    require_none_shared,
)
from fairseq_floater.training.resume import from_newest_whole
from fairseq_floater.training.saving import copying_whole, saving_whole
from fairseq_floater.training.settings import checking_settings


class Hook(NamedTuple):
    """One change: what is changed, why, and the function that changes it."""

    what: str
    why: str
    install: Callable[[], Any]


def _read_namespaces() -> None:
    torch.serialization.add_safe_globals([argparse.Namespace])


def _read_checkpoints() -> None:
    load = checkpoint_utils.load_checkpoint_to_cpu
    checkpoint_utils.load_checkpoint_to_cpu = remembering_options(load)


def _write_checkpoints() -> None:
    save = checkpoint_utils.torch_persistent_save
    checkpoint_utils.torch_persistent_save = saving_whole(save)
    PathManager.copy = staticmethod(copying_whole(PathManager.copy))


def _go_on() -> None:
    checkpoint_utils.load_checkpoint = from_newest_whole(checkpoint_utils.load_checkpoint)


def _send_checkpoints() -> None:
    broadcast = distributed_utils.broadcast_object
    distributed_utils._broadcast_object_slow = broadcast_pickled
    distributed_utils.broadcast_object = remembering_across_processes(broadcast)


def _copy_shares() -> None:
    build = _FP16OptimizerMixin.build_fp32_params.__func__

    @functools.wraps(build)
    def build_fp32_params(
        cls: type, args: Any, params: Sequence[Tensor], flatten: bool = True
    ) -> Any:
        if flatten:
            require_none_shared(params)
        copies = build(cls, args, params, flatten=flatten)
        if not flatten:
            hand_on_shares(params, copies)
        return copies

    _FP16OptimizerMixin.build_fp32_params = classmethod(build_fp32_params)


def _watch_steps() -> None:
    register_optimizer_step_pre_hook(before_step)
    register_optimizer_step_post_hook(after_step)


def _explain_divergence() -> None:
    Trainer.train_step = explaining_divergence(Trainer.train_step)


def _check_settings() -> None:
    Trainer.__init__ = checking_settings(Trainer.__init__)


def _refuse_useless_data() -> None:
    data_utils.load_indexed_dataset = refusing_useless(data_utils.load_indexed_dataset)


def _check_text() -> None:
    interactive: Any = sys.modules.get("fairseq_cli.interactive")
    if interactive is not None:
        interactive.buffered_read = checking_text(interactive.buffered_read)
        if hasattr(sys.stdin, "buffer"):
            sys.stdin = Sentences(sys.stdin.buffer, "standard input")


def _show_one_line() -> None:
    sys.excepthook = showing_one_line(sys.excepthook)


HOOKS = (
    Hook(
        "torch.load(weights_only=True)",
        "Checkpoints of fairseq's legacy models hold their options as an argparse.Namespace, a "
        "class without code of its own. It is allowed; all else stays refused.",
        _read_namespaces,
    ),
    Hook(
        "fairseq.checkpoint_utils.load_checkpoint_to_cpu",
        "A file that is no checkpoint gets one line that says why. Weights remember the options "
        "of their model, so that a model they do not fit can say in which option it differs.",
        _read_checkpoints,
    ),
    Hook(
        "fairseq.checkpoint_utils.torch_persistent_save, fairseq.file_io.PathManager.copy",
        "A training that is killed while it saves leaves a part of a checkpoint. Each is written "
        "beside its place, and put there once it is whole.",
        _write_checkpoints,
    ),
    Hook(
        "fairseq.checkpoint_utils.load_checkpoint",
        "A training that was killed goes on from the newest whole checkpoint of its folder, also "
        "where checkpoint_last.pt is not that one; a flat optimizer state of another model is "
        "refused.",
        _go_on,
    ),
    Hook(
        "fairseq.distributed.utils.broadcast_object",
        "In data-parallel training the first process sends the others the checkpoint it read, "
        "by torch.save and torch.load, which refuses the options in it, and without what its "
        "weights remember.",
        _send_checkpoints,
    ),
    Hook(
        "fairseq.optim.fp16_optimizer, build_fp32_params",
        "In half precision the optimizer steps on float32 copies of the parameters, which must "
        "take the same share of a step (--dynamics-lr-scale, --initial-lr-scale) and rest at the "
        "same updates.",
        _copy_shares,
    ),
    Hook(
        "torch.optim.Optimizer.step",
        "Before it, the gradients of resting parameters go; after it, parameters with a share of "
        "a step are moved back.",
        _watch_steps,
    ),
    Hook(
        "fairseq.trainer.Trainer.train_step",
        "A training that diverges ends in one line with the update, the loss, what to change and "
        "what to go on from. fairseq looks for the reason and then fails in other ways.",
        _explain_divergence,
    ),
    Hook(
        "fairseq.trainer.Trainer.__init__",
        "Settings that cannot work are refused before data are read; fairseq divides by them, or "
        "shards parameters that the plugin tells apart.",
        _check_settings,
    ),
    Hook(
        "fairseq.data.data_utils.load_indexed_dataset",
        "Data without sentences, of which a part is missing, or with words that the dictionary "
        "lacks are named; fairseq fails on them, or only once it reads the part.",
        _refuse_useless_data,
    ),
    Hook(
        "fairseq_cli.interactive.buffered_read, sys.stdin",
        "A byte that is not UTF-8 is named with its file and line, where fairseq-interactive runs.",
        _check_text,
    ),
    Hook(
        "sys.excepthook",
        "A mistake in the input is shown as one line, not as a traceback.",
        _show_one_line,
    ),
    Hook(
        "the end of a program",
        "What is left to print is of no use where nobody reads any more, as before a pipe to head.",
        lambda: atexit.register(flush_quietly),
    ),
    Hook(
        "the end of fairseq-train",
        "It logs its machine and its peak memory, which the tables of results report.",
        lambda: atexit.register(log_cost),
    ),
)

_installed: List[Hook] = []


def install() -> None:
    """Make all changes; a second call makes none."""
    for hook in HOOKS if not _installed else ():
        hook.install()
        _installed.append(hook)
