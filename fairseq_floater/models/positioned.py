"""What every model with positioned stacks can do."""

import argparse
import copy
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    Iterator,
    List,
    Mapping,
    MutableMapping,
    Tuple,
    Type,
)

from torch import Tensor, nn

from fairseq_floater.blocks.positioned import PositionedStack
from fairseq_floater.encoders import PositionEncoder
from fairseq_floater.models.baked import take_baked
from fairseq_floater.models.config import ModelConfig
from fairseq_floater.models.limits import lift_task_limits
from fairseq_floater.models.pruning import prune
from fairseq_floater.models.renamed import with_new_names
from fairseq_floater.models.warm_start import Weights, extend_learned_tables, fit
from fairseq_floater.models.weight_checks import require_sound
from fairseq_floater.options import add_flags
from fairseq_floater.training.levers import apply_levers


class PositionedModel:
    """A mixin for a fairseq model; code that deals with positions gets its stacks by ``stacks``.

    Attributes:
        options: the model's options by name, as a checkpoint holds them.
    """

    options: Mapping[str, Any]

    #: the class of its options
    Config: ClassVar[Type[ModelConfig]]

    #: whether tasks give it heads of their own after it is built
    gets_heads: ClassVar[bool] = False

    # Provided by fairseq's classes.
    parameters: Callable[[], Iterator[nn.Parameter]]
    named_buffers: Callable[[], Iterator[Tuple[str, Tensor]]]
    eval: Callable[[], Any]
    to: Callable[..., Any]

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        """Add flags without defaults, so that those of the architecture apply."""
        add_flags(parser, cls.Config())

    def stacks(self) -> Dict[str, PositionedStack]:
        """Return every stack of blocks by the prefix of its weights' names, in order."""
        raise NotImplementedError

    def position_encoders(self) -> List[PositionEncoder]:
        """Return the position encoders of the stacks that have one."""
        encoders = [stack.position_encoder for stack in self.stacks().values()]
        return [encoder for encoder in encoders if encoder is not None]

    def tie_dynamics(self) -> None:
        """Make all stacks use the dynamics of the first."""
        first, *others = self.position_encoders()
        for encoder in others:
            encoder.dynamics = first.dynamics

    def prepare(self, options: ModelConfig, task: Any) -> None:
        """Finish a built model: keep its options, choose what it learns, lift the task's limits.

        Raises:
            UserError: if ``options`` leave nothing to learn.
        """
        self.options = options.by_name()
        apply_levers(self, self.position_encoders(), options)  # type: ignore[arg-type]  # a mixin
        lift_task_limits(task, self.stacks().values())

    def load_state_dict(
        self,
        state_dict: MutableMapping[str, Tensor],
        strict: bool = True,
        model_cfg: Any = None,
        args: Any = None,
    ) -> Any:
        """Load a model of this kind, or a trained base model to start from.

        Raises:
            UserError: naming what does not fit or cannot be a weight, before any weight is changed.
        """
        # Skip what fairseq's EMA loads at every update: it is part of a model and from no file.
        if strict or isinstance(state_dict, Weights):
            require_sound(getattr(state_dict, "path", Weights.path), state_dict)
        weights = with_new_names(copy.copy(state_dict))
        if not strict:  # the buffer that says how old a layout is may be missing
            for name, buffer in self.named_buffers():
                if name.endswith(".version"):
                    weights.setdefault(name, buffer)
        prune(self.stacks(), weights, self.options)
        tables = take_baked(self.stacks(), weights)
        if strict:
            weights = fit(self, weights)
        elif any(stack.options.extend_base_positions for stack in self.stacks().values()):
            model: Any = self
            model.upgrade_state_dict(weights)  # averages (EMA) of the model that is started from
            extend_learned_tables(model, weights)
        result = super().load_state_dict(weights, strict, None, args)  # type: ignore[misc]  # a mixin
        stacks = self.stacks()
        for name, table in tables.items():  # only of stacks with a position encoder
            stacks[name].position_encoder.adopt(table)  # type: ignore[union-attr]
        return result
