"""Explain in one line when and why a training diverged, and what to do about it."""

import functools
import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Tuple

import torch

from fairseq_floater.errors import UserError, behind
from fairseq_floater.training.save_folder import what_is_left

#: attribute of a trainer that holds the losses of its last step, see ``_watched``
LOSSES = "floater_losses"

#: for each batch of a step, the sum of its losses and the size to divide it by
Losses = List[Tuple[Any, Any]]


def explaining_divergence(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap fairseq's ``Trainer.train_step``, so that a training that diverges ends in one line.

    fairseq itself ends it with a traceback. Before that, it computes the step again to see where it
    fails. This may fail in another way, so the reason is further up in the traceback.

    Raises:
        UserError: with the update, the loss, what to change, and the checkpoint to resume from.
    """

    @functools.wraps(train_step)
    def explained(trainer: Any, samples: Any, *args: Any, **kwargs: Any) -> Any:
        before: Losses = getattr(trainer, LOSSES, [])
        with _watched(trainer) as losses:
            try:
                return train_step(trainer, samples, *args, **kwargs)
            except Exception as error:
                reason = _reason(error, half=trainer.cfg.common.fp16)
                if reason is None or isinstance(error, UserError):
                    raise
                told = losses[: len(samples)]  # without those of the repeated step
                raise UserError(_explain(trainer, reason, _mean(told), _mean(before))) from error

    return explained


@contextmanager
def _watched(trainer: Any) -> Iterator[Losses]:
    """Collect the losses of the step taken in this context, as the criterion returns them."""
    losses: Losses = []
    setattr(trainer, LOSSES, losses)

    def remember(criterion: Any, inputs: Any, output: Any) -> None:
        losses.append((output[0].detach(), output[1]))

    handle = trainer.criterion.register_forward_hook(remember)
    try:
        yield losses
    finally:
        handle.remove()


def _mean(losses: Losses) -> Optional[float]:
    """Return the loss per token in bits, as fairseq logs it, or None without any losses."""
    size = sum(float(size) for _, size in losses)
    return sum(float(loss) for loss, _ in losses) / size / math.log(2) if size else None


def _reason(error: BaseException, half: bool) -> Optional[ArithmeticError]:
    """Return fairseq's own exception about numbers that are too large, if it led to ``error``."""
    for found in behind(error):
        if isinstance(found, FloatingPointError) or (half and isinstance(found, OverflowError)):
            return found
    return None


def _explain(
    trainer: Any, reason: ArithmeticError, loss: Optional[float], before: Optional[float]
) -> str:
    update = f"update {trainer.get_num_updates() + 1}"
    left = what_is_left(Path(trainer.cfg.checkpoint.save_dir))
    # fairseq skips a step whose scaled gradients overflow, but cannot do so on a CPU: there it
    # fails, because it asks for a tensor on a GPU.
    if isinstance(reason, OverflowError):
        return (
            f"the gradients of {update} are too large for half precision at --fp16-init-scale "
            f"{trainer.cfg.common.fp16_init_scale}: lower it, or leave out --fp16 ({left})"
        )
    norms = trainer._grad_norm_buf
    if "inconsistent" in str(reason) and torch.isfinite(norms).all():
        return (
            f"the gradients of the processes differ at {update}: add --ddp-backend "
            f"legacy_ddp, and use GPUs of one kind ({left})"
        )
    said = str(reason).splitlines()[0].split(". ")[0]
    last = "" if before is None else f" after {before:.4g} at the previous update"
    now = "unknown" if loss is None else f"{loss:.4g}"
    return (
        f"the training diverged at {update}: the loss is {now}{last} ({said}): "
        f"{_advice(trainer.cfg)} ({left})"
    )


def _advice(cfg: Any) -> str:
    """Return what to change to make a training more stable, with the current values."""
    clip = cfg.optimization.clip_norm
    parts = [f"lower --lr {','.join(f'{rate:g}' for rate in cfg.optimization.lr)}"]
    warmup = getattr(cfg.lr_scheduler, "warmup_updates", None)
    if warmup is not None:
        parts.append(f"raise --warmup-updates {warmup}")
    parts.append(f"lower --clip-norm {clip:g}" if clip else "set --clip-norm, for example to 1")
    if cfg.common.fp16:
        parts.append(f"lower --fp16-init-scale {cfg.common.fp16_init_scale}")
    return f"{', '.join(parts[:-1])} or {parts[-1]}"
