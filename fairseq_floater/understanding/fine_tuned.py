"""A fine-tuned model and its task, over a data set."""

from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, NamedTuple

import torch
from fairseq import checkpoint_utils, utils

from fairseq_floater.errors import UserError
from fairseq_floater.models.description import task_options
from fairseq_floater.progress import Progress
from fairseq_floater.training.save_folder import state_of


def task_of(checkpoint: Path) -> Mapping[str, Any]:
    """Return the options of the task that a checkpoint was trained on, its name as ``_name``.

    Raises:
        UserError: if there is no such file, or it is not a checkpoint.
    """
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {checkpoint}: give the path of a checkpoint*.pt")
    options = task_options(state_of(checkpoint))
    return {**options, "_name": options.get("_name") or options.get("task")}


class FineTuned(NamedTuple):
    """A model in evaluation mode, on a GPU if there is one, and its task."""

    model: Any
    task: Any

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        data: Path,
        options: Mapping[str, Any],
    ) -> "FineTuned":
        """Load a checkpoint for a folder of data.

        Args:
            checkpoint: a checkpoint of a training whose task fits, see ``task_of``.
            data: the folder, which replaces the one it was trained on.
            options: options of model and task, which replace those of the training.
        """
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(checkpoint)], arg_overrides={"data": str(data), **options}
        )
        return cls(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), task)

    def batches(self, subset: str, max_tokens: int) -> Iterator[Dict[str, Any]]:
        """Yield batches of a loaded data set on the model's device, and show the progress.

        Raises:
            UserError: if a row is longer than a batch may be.
        """
        rows = self.task.dataset(subset)
        longest = max((int(rows.num_tokens(index)) for index in range(len(rows))), default=0)
        if longest > max_tokens:
            raise UserError(
                f"--max-tokens {max_tokens} is less than the longest row of {subset} needs "
                f"({longest}): raise it"
            )
        batches = self.task.get_batch_iterator(
            rows,
            max_tokens=max_tokens,
            max_positions=None,
            required_batch_size_multiple=1,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)
        on_gpu, done = torch.cuda.is_available(), 0
        progress = Progress(f"{subset}: row", len(rows))
        for sample in batches:
            yield utils.move_to_cuda(sample) if on_gpu else sample
            done += len(sample["id"])
            progress.reached(done)
