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

#: what an unexpected layout of a file raises, and so do numbers like 1e999 and halves of characters
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


class UserError(ValueError, CompactHydraException):
    """Bad input: the message names the thing, its value and the fix.

    Because of its second base class, hydra shows the message instead of a traceback.
    """


class DamagedCheckpoint(UserError):
    """A checkpoint whose contents are not, or cannot be, what was written.

    Args:
        path: the path of the checkpoint.
        reason: what is wrong.
        what: the part of the file that is wrong, such as a weight; empty for the whole file.
    """

    def __init__(self, path: Union[Path, str], reason: str, what: str = ""):
        where = f", in {what}" if what else ""
        super().__init__(
            f"checkpoint {path} is damaged{where}: {reason}; copy it again, or put an earlier one "
            "in its place"
        )
        self.reason = f"{what}: {reason}" if what else reason


class NoCheckpoint(DamagedCheckpoint):
    """A file that is not a complete checkpoint; ``said`` is what torch or zipfile says about it."""

    def __init__(self, path: Union[Path, str], said: str):
        UserError.__init__(
            self,
            f"checkpoint {path} cannot be read, it is truncated or not a fairseq checkpoint "
            f"({said}): copy it again, or put an earlier one in its place",
        )
        self.reason = "it is truncated or not a training checkpoint"


@contextlib.contextmanager
def naming(checkpoint: Union[Path, str]) -> Iterator[None]:
    """Within the context, begin user errors with the checkpoint that the model was read from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message, cut to 120 characters."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


Excepthook = Callable[[Type[BaseException], BaseException, Optional[TracebackType]], Any]


def showing_one_line(previous: Excepthook) -> Excepthook:
    """Return an excepthook that shows a user's mistake as one line, all else by ``previous``."""

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
    """Return the name of the command that is running, such as ``fairseq-train``."""
    return Path(sys.argv[0] if sys.argv else "").name


def traceback_wanted() -> bool:
    """True if ``FLOATER_TRACEBACK=1`` in the environment asks for tracebacks, not one line."""
    return bool(os.environ.get("FLOATER_TRACEBACK"))


def show(error: Union[BaseException, str], hint: str = "") -> None:
    """Print an error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    print(f"error: {' '.join(text.split())}{hint}", file=sys.stderr)


def nobody_reads(error: BaseException) -> bool:
    """True if ``error`` says that nobody reads what is printed, as after ``| head``.

    In that case, what is left to print is discarded.
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
    """Print what is left to print, if anybody still reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        nobody_reads(error)
    except (AttributeError, ValueError):  # standard output is missing or closed
        pass


OTHER_OPTIMIZER = (
    "the optimizer's state in this checkpoint is that of a model with other parameters: start "
    "from it with --finetune-from-model, or add --reset-optimizer --reset-lr-scheduler "
    "--reset-dataloader --reset-meters"
)

OTHER_PROCESS = (
    "another process of this training has ended: its own error says why; run all of them again "
    "to resume from the last checkpoint"
)

SHARDED = (
    "--ddp-backend fully_sharded and slowmo are not supported: they flatten or average parameters "
    "that the plugin treats separately: use pytorch_ddp or legacy_ddp"
)

#: what fairseq needs for it before it makes a model, which may be one of its own
FAIRSCALE = (
    "--ddp-backend fully_sharded and slowmo need fairscale, and models of the plugin cannot use "
    "them: use pytorch_ddp or legacy_ddp"
)

#: parts of messages of torch and fairseq, and what to do about each
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
        FAIRSCALE,
    ),
    "Key 'left_pad_source' not in": (
        "--task multilingual_translation needs an architecture of several models, as "
        "multilingual_transformer is: use --task translation_multi_simple_epoch"
    ),
}


def _known_complaint(text: str) -> Optional[str]:
    """Return what to do about a complaint of torch or fairseq, or None if that is not known.

    fairseq starts a process for each GPU, and torch passes on the errors of these processes as the
    text of their tracebacks. If that text holds an error of ours, return its message.
    """
    if found := re.search(r"^fairseq_floater\.errors\.\w+: (.*)", text, re.MULTILINE):
        return found[1]
    return next((advice for theirs, advice in _COMPLAINTS.items() if theirs in text), None)


def behind(error: Optional[BaseException]) -> Iterator[BaseException]:
    """Yield ``error`` and the errors that it was raised from or while handling, each once."""
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _user_error_behind(error: BaseException) -> Optional[UserError]:
    """Return the ``UserError`` behind ``error``, if any: fairseq wraps errors in its own."""
    return next((found for found in behind(error) if isinstance(found, UserError)), None)


def _is_fairseqs_complaint(error: BaseException) -> bool:
    """True if ``error`` is of a kind by which fairseq reports bad input.

    These are a bare ``Exception``, an assertion, and an open() that fails.
    """
    plain = type(error) is Exception or isinstance(error, AssertionError)
    return isinstance(error, OSError) or (plain and bool(str(error)))
