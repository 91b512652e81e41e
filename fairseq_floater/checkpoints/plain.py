"""What fairseq's checkpoints may hold beside plain data: classes that only hold values.

Everything else that a pickle can name is refused, since it could run anything. Checkpoints are read
in ``files``, and by a training that resumes in ``training.save_folder``.
"""

import argparse
import importlib
from typing import Any, List

import numpy as np
from fairseq.logging import meters

#: where numpy has the two functions that make arrays and numbers again, before numpy 2 and since
_OLD, _NEW = "numpy.core.multiarray", "numpy._core.multiarray"

#: the types of numbers in what fairseq measures
_NUMBERS = ("f2", "f4", "f8", "i4", "i8", "?")


def plain_classes() -> List[Any]:
    """Return what ``torch.serialization.add_safe_globals`` takes.

    - Options of legacy models are in an ``argparse.Namespace``.
    - With ``--eval-bleu``, counts are numpy arrays; scores such as Pearson's are numpy numbers.
    - Until 2020, what was measured in training was in objects of ``fairseq.meters``.
    """
    numpy = importlib.import_module(
        _NEW if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else _OLD
    )
    made = [
        (getattr(numpy, n), f"{m}.{n}") for n in ("_reconstruct", "scalar") for m in (_OLD, _NEW)
    ]
    numbers = {type(np.dtype(number)) for number in _NUMBERS}
    measured = ("AverageMeter", "TimeMeter", "StopwatchMeter")
    old = [(getattr(meters, name), f"fairseq.meters.{name}") for name in measured]
    return [argparse.Namespace, np.ndarray, np.dtype, *numbers, *made, *old]
