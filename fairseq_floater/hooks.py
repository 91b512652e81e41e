"""Everything the plugin changes in fairseq and torch while it is loaded, each with its reason.

``install`` is called once, when the package is imported. Nothing else in the package assigns to a
name of another library. Models and architectures are not here, since fairseq lets plugins register
them. Nor are the limits of a task, which a model lifts when it is built for that task
(``models.limits``).
"""

import atexit
import functools
import sys
from types import SimpleNamespace
from typing import Any, Sequence

import numpy as np
import torch
from fairseq import checkpoint_utils, options
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
from fairseq_floater.checkpoints.plain import plain_classes
from fairseq_floater.errors import flush_quietly, showing_one_line
from fairseq_floater.training.corpus import Sentences, checking_text, refusing_useless
from fairseq_floater.training.cost import log_cost, remembering_peak
from fairseq_floater.training.divergence import explaining_divergence
from fairseq_floater.training.levers import (
    after_step,
    before_step,
    hand_on_shares,
    require_none_shared,
)
from fairseq_floater.training.patience import restoring_patience, saving_patience
from fairseq_floater.training.resume import from_newest_whole
from fairseq_floater.training.saving import copying_whole, saving_whole
from fairseq_floater.training.settings import bf16_without_tpu, checking_settings


def _read_plain_classes() -> None:
    """Let ``torch.load(weights_only=True)`` read the classes in fairseq's checkpoints.

    Among them are numpy's arrays, as soon as a training has ``--eval-bleu``. None can do more than
    hold values. Everything else is still refused.
    """
    torch.serialization.add_safe_globals(plain_classes())


def _read_checkpoints() -> None:
    """Give a reason if a checkpoint cannot be read, and let weights remember their options.

    A file that is not a checkpoint gets one line. A model that the weights do not fit can then say
    in which option it differs from theirs.
    """
    load = checkpoint_utils.load_checkpoint_to_cpu
    checkpoint_utils.load_checkpoint_to_cpu = remembering_options(load)


def _write_checkpoints() -> None:
    """Write each checkpoint beside its final place, and move it there once it is complete.

    Otherwise, a training run that is killed while it saves would leave a partial checkpoint.
    """
    save = checkpoint_utils.torch_persistent_save
    checkpoint_utils.torch_persistent_save = saving_whole(save)
    PathManager.copy = staticmethod(copying_whole(PathManager.copy))


def _resume_from_newest() -> None:
    """Let a training run that was killed resume from the newest whole checkpoint in its folder.

    This need not be checkpoint_last.pt. The optimizer state of another model is refused.
    """
    checkpoint_utils.load_checkpoint = from_newest_whole(checkpoint_utils.load_checkpoint)


def _keep_patience() -> None:
    """Let a training run that is resumed go on with what --patience has counted.

    fairseq forgets the count with the process, so that an interrupted training would end later.
    """
    Trainer.save_checkpoint = saving_patience(Trainer.save_checkpoint)
    Trainer.load_checkpoint = restoring_patience(Trainer.load_checkpoint)


def _send_checkpoints() -> None:
    """Send checkpoints from the first process with their options and what their weights remember.

    In data-parallel training, fairseq sends what the first process has read by torch.save and
    torch.load. This refuses the options and loses what the weights remember.
    """
    broadcast = distributed_utils.broadcast_object
    distributed_utils._broadcast_object_slow = broadcast_pickled
    distributed_utils.broadcast_object = remembering_across_processes(broadcast)


def _copy_shares() -> None:
    """Give the float32 copies of half-precision parameters the same shares of a step.

    The optimizer updates these copies, so they must take the same share (--dynamics-lr-scale,
    --initial-lr-scale) and rest at the same updates.
    """
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


def _scale_steps() -> None:
    """Drop the gradients of resting parameters before a step, and scale the steps of others after.

    A parameter with a share other than 1 takes that share of each step.
    """
    register_optimizer_step_pre_hook(before_step)
    register_optimizer_step_post_hook(after_step)


def _explain_divergence() -> None:
    """End a diverging training run with a one-line error.

    It gives the update, the loss, what to change and what to resume from. fairseq itself looks for
    the reason and then fails in other ways.
    """
    Trainer.train_step = explaining_divergence(Trainer.train_step)


def _train_in_bfloat16() -> None:
    """Let --bf16 train without a TPU: fairseq looks for one, and fails if there is none."""
    options.parse_args_and_arch = bf16_without_tpu(options.parse_args_and_arch)


def _name_old_numpy_types() -> None:
    """Give numpy 2 the name ``np.compat.long`` back, which fairseq uses and numpy 1 had.

    Without it, --sample-break-mode eos ends in an AttributeError.
    """
    if not hasattr(np, "compat"):
        np.compat = SimpleNamespace(long=int)  # type: ignore[attr-defined]


def _check_settings() -> None:
    """Refuse or correct settings that cannot work, before training data are read.

    fairseq would divide by them, or shard parameters that the plugin treats separately.
    """
    Trainer.__init__ = checking_settings(Trainer.__init__)


def _refuse_useless_data() -> None:
    """Refuse data that lack sentences or a part, or have words that the dictionary lacks.

    fairseq itself fails on such data, or fails only once it reads that part.
    """
    data_utils.load_indexed_dataset = refusing_useless(data_utils.load_indexed_dataset)


def _check_text() -> None:
    """Let fairseq-interactive name the file and the line of a byte that is not UTF-8."""
    interactive: Any = sys.modules.get("fairseq_cli.interactive")
    if interactive is not None:
        interactive.buffered_read = checking_text(interactive.buffered_read)
        if hasattr(sys.stdin, "buffer"):
            sys.stdin = Sentences(sys.stdin.buffer, "standard input")


def _show_one_line() -> None:
    """Show a mistake in the input as one line, not as a traceback."""
    sys.excepthook = showing_one_line(sys.excepthook)


def _end_quietly() -> None:
    """Let a program end silently if nobody reads its output any more, as in a pipe to head."""
    atexit.register(flush_quietly)


def _log_cost() -> None:
    """Log the machine and the peak memory of a fairseq-train run, for the tables of results."""
    torch.cuda.reset_peak_memory_stats = remembering_peak(torch.cuda.reset_peak_memory_stats)
    atexit.register(log_cost)


#: every change
HOOKS = (
    _read_plain_classes,
    _read_checkpoints,
    _write_checkpoints,
    _resume_from_newest,
    _keep_patience,
    _send_checkpoints,
    _copy_shares,
    _scale_steps,
    _explain_divergence,
    _train_in_bfloat16,
    _name_old_numpy_types,
    _check_settings,
    _refuse_useless_data,
    _check_text,
    _show_one_line,
    _end_quietly,
    _log_cost,
)


@functools.cache
def install() -> None:
    """Make all changes; a second call does nothing."""
    for change in HOOKS:
        change()
