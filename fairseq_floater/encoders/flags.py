"""How a flag is declared, in one place: its default, its help, its choices and its range.

The options of a position encoder are a dataclass beside it whose fields ``flag`` makes. The
command line, hydra, checkpoints and the documentation all read these fields.
"""

import math
from dataclasses import Field, dataclass, field, fields
from typing import Any, Callable, Collection, Dict, NamedTuple, Optional, Set

from fairseq_floater.encoders.base import KindOptions
from fairseq_floater.errors import UserError


class Range(NamedTuple):
    """The values that a flag may have: in words, and as a test."""

    text: str
    holds: Callable[[Any], bool]


POSITIVE = Range("> 0", lambda value: math.isfinite(value) and value > 0)
NON_NEGATIVE = Range(">= 0", lambda value: math.isfinite(value) and value >= 0)
AT_LEAST_ONE = Range(">= 1", lambda value: value >= 1)


def flag(
    default: Any,
    help: str,
    *,
    choices: Collection[str] = (),
    range: Optional[Range] = None,
    renamed_to: Optional[str] = None,
    formerly: Any = None,
) -> Any:
    """Return a field of an options dataclass; field ``a_b`` is ``--a-b`` on the command line.

    Args:
        default: its value if it is not given; None stands for "not given".
        help: what it does, without choices and range.
        choices: the only texts allowed.
        range: the only numbers allowed.
        renamed_to: the field that this old name now stands for.
        formerly: the value that describes models from before the option existed, if that is not
            the default; checkpoints that lack the option have this value.
    """
    metadata: Dict[str, Any] = {"help": help, "choices": choices}
    if renamed_to is not None:
        metadata["renamed_to"] = renamed_to
    if formerly is not None:
        metadata["formerly"] = formerly
    if range is not None:
        metadata |= {"range": range.text, "holds": range.holds}
    return field(default=default, metadata=metadata)


def flag_name(field_name: str) -> str:
    """Return ``--a-b`` for ``a_b``."""
    return "--" + field_name.replace("_", "-")


def check_values(options: Any) -> None:
    """Check every field of ``options`` against its choices and its range.

    Raises:
        UserError: naming the flag, its value and what it may be.
    """
    for declared in fields(options):
        _check_value(declared, getattr(options, declared.name))


def _check_value(declared: "Field[Any]", value: Any) -> None:
    if value is None and declared.default is None:
        return
    name, known = flag_name(declared.name), declared.metadata
    if known.get("choices") and value not in known["choices"]:
        raise UserError(f"{name} is {value!r}: choose from {', '.join(known['choices'])}")
    if "holds" in known and not known["holds"](value):
        raise UserError(f"{name} must be {known['range']}, got {value}")


@dataclass
class TimesOptions(KindOptions):
    """Where tokens stand in time, for encoders that have values between whole positions."""

    position_times: str = flag(
        "tokens",
        "where a token stands in time: at its number or, for documents, in sentences with pauses "
        "between them, each proportional to the length of the sentence before it (floater, "
        "fourier, rotary, sinusoidal)",
        choices=("tokens", "sentences"),
    )
    sentence_separator: str = flag(
        "<s/>", "the symbol of the dictionary that ends a sentence in a document"
    )
    sentence_gap: float = flag(
        1.0, "pause after a sentence, in positions per token of the sentence", range=NON_NEGATIVE
    )

    def unread(self) -> Set[str]:
        """Return the fields about sentences, unless tokens stand in sentences."""
        apart = {"sentence_separator", "sentence_gap"}
        return set() if self.position_times == "sentences" else apart


@dataclass
class SharingOptions(KindOptions):
    """Which stacks share their dynamics, for encoders whose tracks follow dynamics."""

    share_dynamics: str = flag(
        "stack",
        "one h each for the encoder and the decoder, or one for the whole model (floater, rnn)",
        choices=("stack", "all"),
    )
