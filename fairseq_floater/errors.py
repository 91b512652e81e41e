"""The one exception for input a user can mend, shown as one line on the command line."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Optional, Type, Union

from hydra.errors import CompactHydraException


class UserError(ValueError, CompactHydraException):
    """Bad input: the message names the thing, its value and the mend.

    By its second parent, hydra shows the message in place of a traceback.
    """


def install_excepthook() -> None:
    """Show a mistake of the user's that ends the program as one line, and leave all else as it is.

    ``FLOATER_TRACEBACK=1`` in the environment brings the traceback back.
    """
    if os.environ.get("FLOATER_TRACEBACK"):
        return
    previous = sys.excepthook
    in_fairseq = Path(sys.argv[0] if sys.argv else "").name.startswith("fairseq-")

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        mistake = _user_error_behind(error)
        if mistake is not None:
            _show(mistake)
        elif in_fairseq and _OTHER_OPTIMIZER in str(error):
            _show(_OTHER_OPTIMIZER_MEND)
        elif in_fairseq and _is_fairseqs_complaint(error):
            _show(error, " (FLOATER_TRACEBACK=1 shows where)")
        else:
            previous(kind, error, trace)

    sys.excepthook = hook


#: what torch says of the optimizer's state of a model with fewer parameters
_OTHER_OPTIMIZER = "doesn't match the size of optimizer's group"

_OTHER_OPTIMIZER_MEND = (
    "the optimizer's state in this checkpoint is that of a model with other parameters: start "
    "from it with --finetune-from-model, or add --reset-optimizer --reset-lr-scheduler "
    "--reset-dataloader --reset-meters"
)


def _show(error: Union[BaseException, str], hint: str = "") -> None:
    print(f"error: {' '.join(str(error).split())}{hint}", file=sys.stderr)


def _user_error_behind(error: Optional[BaseException]) -> Optional[UserError]:
    """fairseq wraps errors in its own; the one that says what to mend may be further down."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _is_fairseqs_complaint(error: BaseException) -> bool:
    """fairseq reports bad input by a bare ``Exception``, an assertion, or an open() that fails."""
    plain = type(error) is Exception or isinstance(error, AssertionError)
    return isinstance(error, OSError) or (plain and bool(str(error)))
