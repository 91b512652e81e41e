"""Train positions at lower cost, or apart from the rest (paper, section 3.4 and appendix).

Freezing takes parameters out of training. The other levers work with any optimizer, around its
step. Before the step, a parameter that rests loses its gradient, so the optimizer skips it and its
moments stay. After the step, the change of a parameter with its own learning rate is scaled.
"""

import re
from dataclasses import dataclass, fields
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from fairseq_floater.encoders.base import PositionEncoder
from fairseq_floater.encoders.flags import AT_LEAST_ONE, POSITIVE, flag, flag_name
from fairseq_floater.errors import UserError


@dataclass
class LeverOptions:
    """Options for what is trained, how often, and at which rate."""

    dynamics_lr_scale: float = flag(
        1.0,
        "learning rate of the dynamics, or of the frequencies and network of Fourier features, as "
        "a multiple of the rate of everything else; the paper uses a larger one (floater, rnn, "
        "fourier)",
        range=POSITIVE,
    )
    initial_lr_scale: float = flag(
        1.0,
        "learning rate of the vectors at position 0, as a multiple of the rate of everything else; "
        "there is one for each trajectory, and their size determines how sharply attention tells "
        "positions apart (floater, rnn)",
        range=POSITIVE,
    )
    position_encoder_update_interval: int = flag(
        1,
        "update the position encoder only at every k-th update, and solve its equation only then; "
        "data-parallel training then needs --find-unused-parameters, or, with "
        "--checkpoint-activations, --ddp-backend legacy_ddp",
        range=AT_LEAST_ONE,
    )
    freeze_position_encoder: bool = flag(
        False, "leave the position encoder as it is, and do not solve its equation in training"
    )
    freeze_base: bool = flag(
        False, "train the position encoder, and a head that a task adds, but nothing else"
    )
    train_only: Optional[str] = flag(
        None,
        "train only the parameters whose names have a part that matches this regular expression, "
        "such as lm_head for a new head",
    )

    dynamics_update_interval: int = flag(
        1,
        "old name of --position-encoder-update-interval",
        range=AT_LEAST_ONE,
        renamed_to="position_encoder_update_interval",
    )
    freeze_dynamics: bool = flag(
        False, "old name of --freeze-position-encoder", renamed_to="freeze_position_encoder"
    )

    def check_levers(self) -> None:
        """Check that something is left to learn, and that ``--train-only`` is used alone.

        Raises:
            UserError: naming the flags and the fix.
        """
        if self.freeze_base and self.freeze_position_encoder:
            raise UserError(
                "--freeze-base and --freeze-position-encoder leave nothing to learn: give only "
                "one of them"
            )
        if self.freeze_base and self.position_encoder_update_interval > 1:
            raise UserError(
                "--freeze-base leaves nothing to learn between the updates of "
                f"--position-encoder-update-interval {self.position_encoder_update_interval}: "
                "give only one of them"
            )

        if self.train_only is not None:
            frozen = [n for n in ("freeze_base", "freeze_position_encoder") if getattr(self, n)]
            if frozen:
                raise UserError(
                    f"--train-only and {flag_name(frozen[0])} both say what is trained: give only "
                    "one of them"
                )
            try:
                re.compile(self.train_only)
            except re.error as error:
                raise UserError(
                    f"--train-only {self.train_only} is not a valid regular expression ({error}): "
                    "give a part of a name"
                ) from None

    def levers_in_use(self) -> List[str]:
        """Return the flags that are not at their defaults."""
        default = LeverOptions()
        return [flag_name(n) for n in LEVERS if getattr(self, n) != getattr(default, n)]


#: names of the options above that are about positions, without old names
LEVERS = tuple(
    f.name
    for f in fields(LeverOptions)
    if "renamed_to" not in f.metadata and f.name != "train_only"
)

#: attribute of a parameter that holds its ``StepShare``
SHARE = "floater_step_share"


class StepShare:
    """The share of an optimizer's step that a parameter takes: ``scale``, or 0 while it rests."""

    def __init__(self, encoder: PositionEncoder, scale: float):
        self.encoder = encoder
        self.scale = scale


def apply_levers(
    model: nn.Module, encoders: Sequence[PositionEncoder], options: LeverOptions
) -> None:
    """Prepare ``model`` for training as ``options`` say.

    Args:
        model: the whole model.
        encoders: the position encoders of its stacks; a learned base encoding is a part of the
            base model.
        options: the options, already validated.

    Raises:
        UserError: if there is nothing to treat apart.
    """
    encoders = [encoder for encoder in encoders if any(True for _ in encoder.parameters())]
    used = options.levers_in_use()
    if used and not encoders:
        raise UserError(
            f"{used[0]} needs a position encoder with parameters, but this model has none: leave "
            "it out"
        )
    learned = {id(p) for encoder in encoders for p in encoder.parameters()}
    for parameter in model.parameters():
        is_position = id(parameter) in learned
        if options.freeze_position_encoder if is_position else options.freeze_base:
            parameter.requires_grad_(False)
    for encoder in encoders:
        encoder.update_interval = options.position_encoder_update_interval
        for name, parameter in encoder.named_parameters():
            scale = options.initial_lr_scale if name == "initial" else 1.0
            if name.startswith(encoder.shared_parameters):
                scale = options.dynamics_lr_scale
            if scale != 1.0 or encoder.update_interval > 1:
                setattr(parameter, SHARE, StepShare(encoder, scale))
    if options.train_only is not None:
        train_only(model, options.train_only, whole=not getattr(model, "gets_heads", False))


def train_only(model: nn.Module, pattern: str, whole: bool) -> None:
    """Train only the parameters whose names have a part that matches.

    Args:
        model: the whole model, or one without the heads that its task adds later.
        pattern: a regular expression.
        whole: whether no more parameters will be added.

    Raises:
        UserError: if no parameter of a ``whole`` model matches, or if all that match rest
            between the updates of positions.
    """
    learning, parts, aliases = [], set(), _names_of_encoders(model)
    for name, parameter in model.named_parameters():
        parts.add(name.split(".")[1])
        names = aliases.get(parameter, [name])
        parameter.requires_grad_(any(re.search(pattern, known) for known in names))
        learning += [parameter] if parameter.requires_grad else []
    if whole and not learning:
        among = ", ".join(sorted(parts))
        raise UserError(f"--train-only {pattern} matches no parameter: they are all in {among}")
    shares = [getattr(parameter, SHARE, None) for parameter in learning]
    intervals = [1 if share is None else share.encoder.update_interval for share in shares]
    if whole and min(intervals) > 1:
        raise UserError(
            f"--train-only {pattern} leaves nothing to learn between the updates of "
            f"--position-encoder-update-interval {min(intervals)}: give only one of them"
        )


def _names_of_encoders(model: nn.Module) -> Dict[Tensor, List[str]]:
    """Return all names of each parameter of position encoders, which stacks may share.

    (A word table that is also the output's has its first name only: a head can learn without it.)
    """
    names: Dict[Tensor, List[str]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, PositionEncoder):
            for name, parameter in module.named_parameters(prefix, remove_duplicate=False):
                names.setdefault(parameter, []).append(name)
    return names


def has_own_rate(model: nn.Module) -> bool:
    """True if any parameter that learns takes a share of its step other than the whole."""
    shares = [getattr(p, SHARE, None) for p in model.parameters() if p.requires_grad]
    return any(share is not None and share.scale != 1.0 for share in shares)


def require_none_shared(parameters: Iterable[Tensor]) -> None:
    """Raise ``UserError`` if any has a ``StepShare``, which is lost in one flat row of them all.

    fairseq's trainer never gets here (see ``settings.keep_shares_apart``), but code that builds an
    optimizer without it may.
    """
    if any(hasattr(parameter, SHARE) for parameter in parameters):
        raise UserError(
            "--dynamics-lr-scale, --initial-lr-scale and --position-encoder-update-interval cannot "
            "tell the parameters of this optimizer apart, because they are one flat row: add "
            "--fp16-no-flatten-grads"
        )


def hand_on_shares(parameters: Iterable[Tensor], copies: Iterable[Tensor]) -> None:
    """Give the float32 copies of half-precision parameters the shares of the originals."""
    for parameter, copy in zip(parameters, copies):
        if hasattr(parameter, SHARE):
            setattr(copy, SHARE, getattr(parameter, SHARE))


def before_step(optimizer: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    """Hook to be called before a step of any ``torch.optim.Optimizer``."""
    kept: List[Tuple[Tensor, Tensor, float]] = []
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        share = getattr(parameter, SHARE, None)
        if share is not None and share.encoder.resting:
            parameter.grad = None  # in half precision and some data parallelism it would be 0
        elif share is not None and share.scale != 1.0:
            kept.append((parameter, parameter.detach().clone(), share.scale))
    optimizer.floater_kept = kept


def after_step(optimizer: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    """Hook to be called after a step for which ``before_step`` was called."""
    with torch.no_grad():
        for parameter, before, share in optimizer.floater_kept:
            parameter.copy_(before.lerp(parameter.detach(), share))
    optimizer.floater_kept = []
