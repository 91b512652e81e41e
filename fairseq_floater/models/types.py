"""Check that options have their declared types, as those in a damaged file may not."""

import enum
import re
from dataclasses import Field, fields
from typing import Any, Dict, List, Mapping, Type, get_args

from omegaconf import ListConfig

from fairseq_floater.encoders.flags import flag_name

#: what a flag takes, in words
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def wrong_types(options: Mapping[str, Any], declared: Type[Any]) -> List[str]:
    """Return what is wrong with the types of ``options``, a sentence each.

    Args:
        options: the options by name; those that are not declared are ignored.
        declared: a dataclass of options.
    """
    known = {f.name: f for f in fields(declared) if f.name != "_name"}
    return [
        f"{flag_name(name)} is {_shown(value)}, not {_wanted(known[name])}"
        for name, value in options.items()
        if name in known and not _fits(value, known[name])
    ]


def as_declared(options: Mapping[str, Any], declared: Type[Any]) -> Dict[str, Any]:
    """Return the ``options`` that are declared, whole numbers as floats if a float is meant."""
    known = {f.name: f for f in fields(declared) if f.name != "_name"}
    return {
        name: float(value) if _is(value, int) and _type(known[name]) is float else value
        for name, value in options.items()
        if name in known
    }


def _fits(value: Any, option: "Field[Any]") -> bool:
    if value is None:
        return option.default is None  # by type alone, fairseq's widths could be None
    if _is_list(option):  # fairseq also takes a string of numbers and commas
        if isinstance(value, str):
            return re.fullmatch(r"(\s*\d+\s*(,|$))*", value) is not None
        return isinstance(value, (list, tuple, ListConfig)) and all(
            _is(part, int) for part in value
        )
    if isinstance(option.default, str) and option.default.startswith("${"):
        if isinstance(value, str):  # a reference to another option
            return value.startswith("${")
    if choices := _choices(option):
        return str(value) in choices
    if str(option.default).isdigit() and isinstance(option.default, str):
        return _is(value, str) or _is(value, float)  # such as steps per position
    return _is(value, _type(option))


def _is(value: Any, wanted: Any) -> bool:
    if wanted is bool:
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    if isinstance(value, bool):
        return False
    if wanted is float:
        return isinstance(value, (int, float))  # ranges say whether it may be infinite
    if wanted is str:
        return isinstance(value, (str, enum.Enum))
    return isinstance(value, wanted)


def _type(option: "Field[Any]") -> Any:
    """Return ``bool``, ``int``, ``float``, or ``str``, which also stands for choices."""
    kinds = [kind for kind in get_args(option.type) or (option.type,) if kind is not type(None)]
    return kinds[0] if kinds[0] in _WORDS else str


def _is_list(option: "Field[Any]") -> bool:
    return "List[" in str(option.type)


def _choices(option: "Field[Any]") -> List[str]:
    """Return the strings that fairseq takes for an option; empty if it takes any."""
    kind = option.type
    return [str(choice.value) for choice in kind] if isinstance(kind, enum.EnumMeta) else []


def _wanted(option: "Field[Any]") -> str:
    if choices := _choices(option):
        return f"one of {', '.join(choices)}"
    return "a list of whole numbers" if _is_list(option) else _WORDS[_type(option)]


def _shown(value: Any) -> str:
    return f"{repr(value)[:60]} ({type(value).__name__})"
