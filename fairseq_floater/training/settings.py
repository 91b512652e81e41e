"""Refuse or mend settings of fairseq that cannot work, before anything is trained."""

import functools
import logging
from typing import Any, Callable

from fairseq import utils
from torch import nn

from fairseq_floater.encoders.flags import flag_name
from fairseq_floater.errors import SHARDED, UserError
from fairseq_floater.training.levers import SHARE, has_own_rate, train_only

logger = logging.getLogger(__name__)

#: options with which blocks are computed again in the backward pass; the first implies the second
CHECKPOINTING = ("offload_activations", "checkpoint_activations")


def bf16_without_tpu(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``parse_args_and_arch``, in which ``--bf16`` implies ``--tpu``.

    A TPU needs PyTorch/XLA. If that is not installed, ``--bf16`` is for a GPU or a CPU.

    Raises:
        UserError: for ``--tpu`` without PyTorch/XLA, unless ``--bf16`` is given as well: fairseq
            then does not tell whether ``--tpu`` was given.
    """

    @functools.wraps(parse)
    def parsed(*args: Any, **kwargs: Any) -> Any:
        result = parse(*args, **kwargs)
        options = result[0] if isinstance(result, tuple) else result
        # Options that are parsed without defaults include only those that were given.
        if utils.xm is None and getattr(options, "tpu", False):
            if not getattr(options, "bf16", False):
                raise UserError(
                    "--tpu needs PyTorch/XLA, the package torch_xla, which is not installed"
                )
            options.tpu = False
        return result

    return parsed


def checking_settings(build: Callable[..., None]) -> Callable[..., None]:
    """Wrap fairseq's ``Trainer.__init__``, which is called before training data are read.

    Raises:
        UserError: naming the flag and its value.
    """

    @functools.wraps(build)
    def checked(
        trainer: Any, cfg: Any, task: Any, model: nn.Module, *args: Any, **kwargs: Any
    ) -> None:
        check_settings(cfg, model)
        if (pattern := getattr(model, "options", {}).get("train_only")) is not None:
            train_only(model, pattern, whole=True)  # now with the head that the task added
            if flags := [name for name in CHECKPOINTING if getattr(cfg.model, name, False)]:
                raise UserError(
                    f"--train-only {pattern} cannot be combined with {flag_name(flags[0])}, "
                    "with which blocks whose input learns nothing learn nothing either: leave out "
                    "the latter"
                )
        keep_shares_apart(cfg, model)
        build(trainer, cfg, task, model, *args, **kwargs)

    return checked


def keep_shares_apart(cfg: Any, model: nn.Module) -> None:
    """Add --fp16-no-flatten-grads if parameters take steps of their own: one row takes only one."""
    own = any(p.requires_grad and hasattr(p, SHARE) for p in model.parameters())
    flat = cfg.common.fp16 and not cfg.common.memory_efficient_fp16
    if own and flat and not cfg.common.fp16_no_flatten_grads:
        cfg.common.fp16_no_flatten_grads = True
        logger.info("added --fp16-no-flatten-grads, since some positions take steps of their own")


def check_settings(cfg: Any, model: nn.Module) -> None:
    """Raise ``UserError`` for settings with which ``model`` cannot be trained."""
    backend = cfg.distributed_training.ddp_backend
    is_ours = hasattr(model, "stacks")  # even without positions: its blocks are not sharded
    if is_ours and backend in ("fully_sharded", "slowmo"):
        raise UserError(SHARDED)
    if has_own_rate(model):
        rounds, common = "which rounds small steps off", cfg.common
        for flag, given, why in (
            (
                "zero-sharding",
                cfg.distributed_training.zero_sharding != "none",
                "which steps twice",
            ),
            ("memory-efficient-bf16", common.memory_efficient_bf16, rounds),
            ("memory-efficient-fp16", common.memory_efficient_fp16, rounds),
        ):
            if given:
                raise UserError(
                    "--dynamics-lr-scale and --initial-lr-scale cannot be combined with "
                    f"--{flag}, {why}: leave it out"
                )
    counts = {
        "max_tokens": cfg.dataset,
        "batch_size": cfg.dataset,
        "validate_interval": cfg.dataset,
        "save_interval": cfg.checkpoint,
        "log_interval": cfg.common,
    }
    for name, part in counts.items():
        value = getattr(part, name)
        if value is not None and value < 1:
            raise UserError(f"{flag_name(name)} must be >= 1, got {value}")
    if any(frequency < 1 for frequency in cfg.optimization.update_freq):
        given = ",".join(map(str, cfg.optimization.update_freq))
        raise UserError(f"--update-freq must be >= 1, got {given}")
