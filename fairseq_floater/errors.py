"""The one exception for input a user can mend, shown as one line on the command line."""

import os
import sys
from types import TracebackType
from typing import Optional, Type

from hydra.errors import CompactHydraException


class UserError(ValueError, CompactHydraException):
    """Bad input: the message names the thing, its value and the mend.

    By its second parent, hydra shows the message in place of a traceback.
    """


def _user_error_behind(error: Optional[BaseException]) -> Optional[UserError]:
    """fairseq wraps errors in its own; the one that says what to mend may be further down."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, UserError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def install_excepthook() -> None:
    """Show a ``UserError`` that ends the program as one line, and leave all else as it is.

    ``FLOATER_TRACEBACK=1`` in the environment brings the traceback back.
    """
    if os.environ.get("FLOATER_TRACEBACK"):
        return
    previous = sys.excepthook

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        user_error = _user_error_behind(error)
        if user_error is None:
            previous(kind, error, trace)
        else:
            print(f"error: {user_error}", file=sys.stderr)

    sys.excepthook = hook
