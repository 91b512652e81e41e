"""FLOATER for fairseq: positions as a learned continuous dynamical system.

Importing the package, by ``--user-dir`` or by name, registers its models
(``floater_transformer``, ``floater_roberta``), tasks and criterions.
"""

import logging

__version__ = "0.2.0"

# One of fairseq's tasks asks for tensorboardX whenever fairseq is imported, as it is next; this
# silences it. All other changes to fairseq are in ``hooks``.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)


def _require_fairseq() -> None:
    """Raise a one-line error that says what to install if fairseq is missing or broken."""
    fix = "install it with: pip install ve-fairseq==0.12.3"
    try:
        from fairseq.models.transformer import TransformerEncoderBase  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"fairseq_floater needs fairseq ({error}): {fix}") from None
    except Exception as error:  # fairseq 0.12.2 fails in its own dataclasses on Python 3.11
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportError(f"fairseq_floater cannot use this fairseq ({reason}): {fix}") from None


_require_fairseq()

from fairseq_floater import criterions, data, hooks, models, tasks  # noqa: E402, F401  registers what is new

hooks.install()

# The ``__all__`` of each folder lists what that part offers.
__all__ = ["__version__", "criterions", "data", "hooks", "models", "tasks"]
