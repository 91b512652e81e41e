"""Read the log of ``fairseq-train``: updates, loss on the validation set, speed, memory."""

import math
import re
from pathlib import Path
from statistics import median
from typing import Any, Dict, List

from fairseq_floater.results.generation import read_lines


def read_training(log: Path) -> Dict[str, Any]:
    """Return figures of a training, even if it was interrupted and resumed in the same log.

    ``words_per_second`` is the median over the log's lines, in target words; memory is in GiB;
    ``valid_nll_losses`` are by the number of updates; ``code`` is what recipes note about the
    revision each time they start a training.
    What the log does not tell is left out.
    """
    text = "\n".join(read_lines(log))
    found: Dict[str, Any] = {}
    if updates := re.findall(r"num_updates[= ](\d+)", text):
        found["updates"] = int(updates[-1])
    if validations := _validations(text):
        found["validations"] = len(validations)
    if losses := [loss for loss in map(_loss, validations) if math.isfinite(loss)]:
        found["valid_nll_loss"] = min(losses)
        by_updates = _by_updates(text).items()
        found["valid_nll_losses"] = {str(n): loss for n, loss in by_updates if math.isfinite(loss)}
    if speeds := re.findall(r"train_inner.*? wps=([\d.]+)", text):
        found["words_per_second"] = median(map(float, speeds))
    if size := re.findall(r"num\. shared model params: ([\d,]+)", text):
        found["parameters"] = int(size[-1].replace(",", ""))
    if machines := re.findall(r"\| machine: (.*)", text):
        # With several GPUs, the process that waits for the others ends last, and has seen no GPU.
        gpus = [machine for machine in machines if " CPU, " not in machine]
        found["machine"] = (gpus or machines)[-1]
    if code := re.findall(r"^code: (.*)", text, re.MULTILINE):
        found["code"] = list(dict.fromkeys(code))
    for place in ("host", "device"):
        if peaks := re.findall(rf"peak memory of the {place}: ([\d.]+) GiB", text):
            found[f"peak_{place}_memory"] = max(map(float, peaks))
    return found


def validation_losses(log: Path) -> Dict[int, float]:
    """Return validation losses in bits per token, by the number of updates before them."""
    return _by_updates("\n".join(read_lines(log)))


def _by_updates(text: str) -> Dict[int, float]:
    return {int(line.split()[-1]): _loss(line) for line in _validations(text)}


def _validations(text: str) -> List[str]:
    """Return each validation's line up to its number of updates.

    Lines that a full disk cut off before it, perhaps within their loss, are left out.
    """
    return re.findall(r"valid on 'valid' subset.*? num_updates \d+", text)


def _loss(line: str) -> float:
    """Return the loss in bits per token; of the references alone if labels are smoothed."""
    found = re.findall(r"nll_loss (\S+)", line) or re.findall(r"loss (\S+)", line)
    return float(found[0])
