"""Keeping fairseq's default limit of 1,024 tokens from binding a model that has none."""

from typing import Any, Iterable

from fairseq.models.transformer import DEFAULT_MAX_SOURCE_POSITIONS

from fairseq_floater.blocks.positioned import UNLIMITED, PositionedStack


def lift_task_limits(task: Any, stacks: Iterable[PositionedStack]) -> None:
    """Lift the task's own limits on the input of ``stacks`` that have none.

    The task filters and refuses data by its own copy of the limits, which generation takes from
    the command line, not from the checkpoint. A limit other than the default is somebody's wish
    and stays.
    """
    cfg = getattr(task, "cfg", None) or getattr(task, "args", None)  # of a legacy task
    for stack in stacks:
        limit = getattr(cfg, stack.limit_name, None)
        if limit == DEFAULT_MAX_SOURCE_POSITIONS and stack.max_positions() == UNLIMITED:
            setattr(cfg, stack.limit_name, UNLIMITED)
