"""The one exception for input that a user can correct, shown as one line on the command line."""

import contextlib
import os
import re
import select
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterator, Optional, Type, Union

from hydra.errors import CompactHydraException


class UserError(ValueError, CompactHydraException):
    """Bad input: the message names the thing, its value and the fix.

    By its second parent, hydra shows the message in place of a traceback.
    """


class DamagedCheckpoint(UserError):
    """A checkpoint that is not, or cannot be, what was written.

    Args:
        path: of the checkpoint.
        reason: what is wrong.
        what: the part of it in which it is wrong, such as a weight; empty for the whole file.
    """

    def __init__(self, path: Union[Path, str], reason: str, what: str = ""):
        where = f", in {what}" if what else ""
        super().__init__(
            f"checkpoint {path} is damaged{where}: {reason}; copy it again, or put an earlier one "
            "in its place"
        )
        self.reason = f"{what}: {reason}" if what else reason


class NoCheckpoint(DamagedCheckpoint):
    """A file that is not all of a checkpoint; ``said`` is what torch or zipfile say of it."""

    def __init__(self, path: Union[Path, str], said: str):
        UserError.__init__(
            self,
            f"checkpoint {path} cannot be read, it is truncated or not a fairseq checkpoint "
            f"({said}): copy it again, or put an earlier one in its place",
        )
        self.reason = "it is truncated or no checkpoint of a training"


@contextlib.contextmanager
def naming(checkpoint: Union[Path, str]) -> Iterator[None]:
    """Within it, what is wrong with a model says first which checkpoint the model was read from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None


def first_line(error: BaseException) -> str:
    """The kind of an error and what it says first."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


Excepthook = Callable[[Type[BaseException], BaseException, Optional[TracebackType]], Any]


def showing_one_line(previous: Excepthook) -> Excepthook:
    """An excepthook: a mistake of the user's is shown as one line, all else by ``previous``."""

    def hook(
        kind: Type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        in_fairseq = program_name().startswith("fairseq-")
        mistake = _user_error_behind(error) or (in_fairseq and _known_complaint(str(error)))
        if traceback_wanted():
            previous(kind, error, trace)
        elif in_fairseq and nobody_reads(error):
            pass
        elif mistake:
            show(mistake)
        elif in_fairseq and _is_fairseqs_complaint(error):
            show(error, " (FLOATER_TRACEBACK=1 shows where)")
        else:
            previous(kind, error, trace)

    return hook


def program_name() -> str:
    """The command that is running, such as ``fairseq-train``."""
    return Path(sys.argv[0] if sys.argv else "").name


def traceback_wanted() -> bool:
    """Whether ``FLOATER_TRACEBACK=1`` in the environment asks for tracebacks in place of a line."""
    return bool(os.environ.get("FLOATER_TRACEBACK"))


def show(error: Union[BaseException, str], hint: str = "") -> None:
    """Print an error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"error: {' '.join(text.split())}{hint}", file=sys.stderr)


def nobody_reads(error: BaseException) -> bool:
    """Whether ``error`` says that nobody reads what is printed, as after ``| head``.

    What is left to print then goes nowhere.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return gone


def flush_quietly() -> None:
    """Print what is left to print, if anybody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        nobody_reads(error)
    except (AttributeError, ValueError):  # there is none, or it is closed
        pass


OTHER_OPTIMIZER = (
    "the optimizer's state in this checkpoint is that of a model with other parameters: start "
    "from it with --finetune-from-model, or add --reset-optimizer --reset-lr-scheduler "
    "--reset-dataloader --reset-meters"
)

OTHER_PROCESS = (
    "another process of this training has ended: its own error says why; run all of them again "
    "to go on from the last checkpoint"
)

SHARDED = (
    "--ddp-backend fully_sharded and slowmo are not supported: they flatten or average parameters "
    "that the plugin tells apart: use pytorch_ddp or legacy_ddp"
)

#: what torch and fairseq say, and what to do
_COMPLAINTS = {
    "doesn't match the size of optimizer's group": OTHER_OPTIMIZER,
    "Expected to have finished reduction in the prior iteration": (
        "data-parallel training met parameters without a gradient, as with "
        "--position-encoder-update-interval: add --find-unused-parameters, or, with "
        "--checkpoint-activations, --ddp-backend legacy_ddp"
    ),
    **dict.fromkeys(("Connection closed by peer", "Connection reset by peer"), OTHER_PROCESS),
    **dict.fromkeys(
        ("Cannot find FullyShardedDataParallel", "Cannot find SlowMoDistributedDataParallel"),
        SHARDED,
    ),
}


def _known_complaint(text: str) -> Optional[str]:
    """What to do about what torch complains of, if that is known.

    fairseq starts a process for each GPU, and torch hands on their errors as the text of their
    tracebacks.
    """
    if found := re.search(r"^fairseq_floater\.errors\.\w+: (.*)", text, re.MULTILINE):
        return found[1]
    return next((advice for theirs, advice in _COMPLAINTS.items() if theirs in text), None)


def behind(error: Optional[BaseException]) -> Iterator[BaseException]:
    """``error``, and those that it was raised from or met on the way, each once."""
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _user_error_behind(error: BaseException) -> Optional[UserError]:
    """fairseq wraps errors in its own; the one that says what to correct may be further down."""
    return next((found for found in behind(error) if isinstance(found, UserError)), None)


def _is_fairseqs_complaint(error: BaseException) -> bool:
    """fairseq reports bad input by a bare ``Exception``, an assertion, or an open() that fails."""
    plain = type(error) is Exception or isinstance(error, AssertionError)
    return isinstance(error, OSError) or (plain and bool(str(error)))
