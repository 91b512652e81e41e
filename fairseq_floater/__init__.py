"""FLOATER for fairseq: positions as a learned continuous dynamical system.

Importing the package, by ``--user-dir`` or by name, registers the ``floater_transformer`` model.
"""

import logging

__version__ = "0.1.0"

# One of fairseq's tasks asks for tensorboardX whenever fairseq is imported.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)


def _require_fairseq() -> None:
    """One line on what to install, in place of whatever a missing or broken fairseq raises."""
    mend = "install it with: pip install ve-fairseq==0.12.3"
    try:
        from fairseq.models.transformer import TransformerEncoderBase  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"fairseq_floater needs fairseq ({error}): {mend}") from None
    except Exception as error:  # fairseq 0.12.2 fails in its own dataclasses on Python 3.11
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportError(f"fairseq_floater cannot use this fairseq ({reason}): {mend}") from None


_require_fairseq()

from fairseq_floater import models  # noqa: E402, F401  registers the models
from fairseq_floater.checkpoints.files import (  # noqa: E402
    allow_fairseq_checkpoints,
    explain_unreadable_checkpoints,
    share_checkpoints_between_processes,
)
from fairseq_floater.errors import install_excepthook  # noqa: E402
from fairseq_floater.training.cost import log_peak_memory_at_exit  # noqa: E402
from fairseq_floater.training.levers import scale_steps  # noqa: E402
from fairseq_floater.training.resume import refuse_other_states  # noqa: E402

allow_fairseq_checkpoints()
explain_unreadable_checkpoints()
share_checkpoints_between_processes()
install_excepthook()
log_peak_memory_at_exit()
scale_steps()
refuse_other_states()
