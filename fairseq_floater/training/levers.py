"""Ways to train positions at less cost, or apart from the rest (paper, section 3.4 and appendix).

Freezing takes parameters out of training. The other levers work on any optimizer, around its step:
a parameter that rests loses its gradient before it, so that the optimizer passes over it and its
moments stay; one with a learning rate of its own is moved back part of the way after it.
"""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.errors import UserError
from fairseq_floater.options import PositionOptions


class StepShare:
    """What share of an optimizer's step a parameter takes: ``scale``, no step while it rests.

    It hangs on the parameter as ``param_group``, the one attribute that fairseq's half-precision
    optimizers hand on to their float32 copies.
    """

    #: whether any was made in this process
    used = False

    def __init__(self, encoder: PositionEncoder, scale: float):
        StepShare.used = True
        self.encoder = encoder
        self.scale = scale


def apply_levers(model: nn.Module, options: PositionOptions) -> None:
    """Prepare ``model`` for training as ``options`` say.

    Raises:
        UserError: if nothing would be left to learn, or nothing is there to treat apart.
    """
    # Those of the stacks; a learned base encoding is a part of the base model.
    encoders = [stack.positions for stack in (model.encoder, model.decoder)]
    encoders = [e for e in encoders if e is not None and any(True for _ in e.parameters())]
    _require_learned(encoders, options)
    learned = {id(p) for encoder in encoders for p in encoder.parameters()}
    for parameter in model.parameters():
        frozen = options.freeze_dynamics if id(parameter) in learned else options.freeze_base
        parameter.requires_grad_(not frozen)
    for encoder in encoders:
        encoder.update_interval = options.dynamics_update_interval
        for name, parameter in encoder.named_parameters():
            scale = options.dynamics_lr_scale if name.startswith("dynamics.") else 1.0
            if scale != 1.0 or encoder.update_interval > 1:
                parameter.param_group = StepShare(encoder, scale)


def _require_learned(encoders: List[PositionEncoder], options: PositionOptions) -> None:
    used = {
        "--freeze-dynamics": options.freeze_dynamics,
        "--freeze-base": options.freeze_base,
        "--dynamics-lr-scale": options.dynamics_lr_scale != 1.0,
        "--dynamics-update-interval": options.dynamics_update_interval != 1,
    }
    flags = [flag for flag, is_used in used.items() if is_used]
    if flags and not encoders:
        raise UserError(
            f"{flags[0]} needs a learned position encoder, but --position-encoder is "
            f"{options.position_encoder}: leave it out"
        )
    if options.dynamics_lr_scale != 1.0 and options.position_encoder == "learned":
        raise UserError(
            "--dynamics-lr-scale needs dynamics, but --position-encoder is learned: leave it out"
        )


def _before_step(optimizer: torch.optim.Optimizer, args: tuple, kwargs: Dict[str, Any]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if StepShare.used and len(parameters) == 1 and parameters[0].dim() == 1:
        raise UserError(
            "--dynamics-lr-scale and --dynamics-update-interval cannot tell the parameters of "
            "this optimizer apart, which are one flat row: add --fp16-no-flatten-grads"
        )
    kept: List[Tuple[Tensor, Tensor, float]] = []
    for parameter in parameters:
        share = getattr(parameter, "param_group", None)
        if isinstance(share, StepShare) and share.encoder.resting:
            parameter.grad = None  # in half precision and some data parallelism it would be 0
        elif isinstance(share, StepShare) and share.scale != 1.0:
            kept.append((parameter, parameter.detach().clone(), share.scale))
    optimizer.floater_kept = kept


def _after_step(optimizer: torch.optim.Optimizer, args: tuple, kwargs: Dict[str, Any]) -> None:
    for parameter, before, share in optimizer.floater_kept:
        parameter.data.copy_(before.lerp(parameter.detach(), share))
    optimizer.floater_kept = []


def scale_steps() -> None:
    """Have every optimizer of this process mind the shares of its parameters."""
    register_optimizer_step_pre_hook(_before_step)
    register_optimizer_step_post_hook(_after_step)
