"""A task's limits: fairseq's default of 1,024 tokens does not bind a model without a limit."""

from typing import Any, Iterable

from fairseq.models.transformer import DEFAULT_MAX_SOURCE_POSITIONS

from fairseq_floater.blocks.positioned import UNLIMITED, PositionedStack


def options_of_task(task: Any) -> Any:
    """Return a task's options, also those of a legacy task; None if it has none."""
    return getattr(task, "cfg", None) or getattr(task, "args", None)


def lift_task_limits(task: Any, stacks: Iterable[PositionedStack]) -> None:
    """Lift the task's own limits on the input of ``stacks`` that have none.

    The task filters and refuses data by its own copy of the limits, which generation takes from
    the command line, not from the checkpoint. A limit other than the default was set on purpose and
    stays, and so does one at which sentences are cut. A given 1,024 cannot be told from the
    default, and is lifted.
    """
    cfg = options_of_task(task)
    for stack in stacks:
        if stack.limit_name == "max_source_positions" and getattr(cfg, "truncate_source", False):
            continue
        limit = getattr(cfg, stack.limit_name, None)
        if limit == DEFAULT_MAX_SOURCE_POSITIONS and stack.max_positions() == UNLIMITED:
            setattr(cfg, stack.limit_name, UNLIMITED)
