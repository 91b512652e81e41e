"""Put the table of flags into the page ``flags.md``, one row for each field of ``PositionOptions``.

    python docs/flags.py

A test fails if the table on the page is not that of the code.
"""

import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, List, Tuple, get_args

from fairseq_floater.options import PositionOptions

PAGE = Path(__file__).with_name("flags.md")

#: descriptions of fields without choices and without a range, by the type of their values
KINDS = {bool: "a switch", int: "a whole number", float: "a number", str: "a text"}


def flag(field: "Field[Any]") -> str:
    return "--" + field.name.replace("_", "-")


def default(field: "Field[Any]") -> str:
    if field.default is None:
        return "see its meaning"
    if field.default is False:
        return "off"
    return f"`{field.default}`"


def values(field: "Field[Any]") -> str:
    if found := field.metadata.get("choices"):
        return ", ".join(f"`{choice}`" for choice in found)
    if "range" in field.metadata:
        return str(field.metadata["range"])
    kinds = [kind for kind in (field.type, *get_args(field.type)) if kind in KINDS]
    return KINDS[kinds[0]] if kinds else ""


def meaning(field: "Field[Any]") -> str:
    """Return the help of the field, with the flags that it names formatted as code."""
    text = " ".join(field.metadata.get("help", "").split())
    text = text.replace("<", "&lt;").replace("|", "&#124;")
    return re.sub(r"--[a-z][a-z0-9-]*", r"`\g<0>`", text)


def place(field: Field) -> Tuple[bool, int]:
    """Return the sort key of a field: by the class that declares it, with old names last."""
    declaring = [
        field.name in vars(kind).get("__annotations__", ()) for kind in PositionOptions.__mro__
    ]
    return "renamed_to" in field.metadata, declaring.index(True)


def table() -> str:
    """Return all flags as a Markdown table."""
    rows: List[str] = ["| flag | default | values | meaning |", "|---|---|---|---|"]
    for field in sorted(fields(PositionOptions), key=place):
        if field.name != "_name":  # fairseq's own
            cells = f"`{flag(field)}`", default(field), values(field), meaning(field)
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """Return the text of the page with the present table in place of the one that it has."""
    before, _, rest = page.partition("| flag | default |")
    _, _, after = rest.partition("\n\n")
    return f"{before}{table()}\n\n{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
