"""Put the tables of flags into the page ``flags.md``.

    python docs/flags.py

The first has one row for each field of ``PositionOptions``, the second those of the tasks. A test
fails if the tables on the page are not those of the code.
"""

import re
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, List, Tuple, get_args

from fairseq_floater.data import TokenizerJsonOptions
from fairseq_floater.options import PositionOptions
from fairseq_floater.results.page import markdown
from fairseq_floater.tasks.floater_multiple_choice import MultipleChoiceConfig
from fairseq_floater.tasks.floater_question_answering import QuestionAnsweringConfig

PAGE = Path(__file__).with_name("flags.md")

#: what else of the plugin has flags, and its options
OTHERS = {
    "--task floater_question_answering": QuestionAnsweringConfig,
    "--task floater_multiple_choice": MultipleChoiceConfig,
    "--bpe tokenizer_json": TokenizerJsonOptions,
}

#: what the tables say of a flag
COLUMNS = ("default", "values", "meaning")

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


def cells(field: "Field[Any]") -> List[str]:
    return [f"`{flag(field)}`", default(field), values(field), meaning(field)]


def table() -> str:
    """Return all flags of models as a Markdown table."""
    shown = [field for field in fields(PositionOptions) if field.name != "_name"]  # fairseq's own
    return markdown(["flag", *COLUMNS], [cells(field) for field in sorted(shown, key=place)])


def table_of_others() -> str:
    """Return the flags of tasks, but for what every task has."""
    rows = [
        [f"`{of}`", *cells(field)]
        for of, options in OTHERS.items()
        for field in fields(options)
        if field.metadata.get("help") and field.name != "data"
    ]
    return markdown(["of", "flag", *COLUMNS], rows)


def with_tables(page: str) -> str:
    """Return the text of the page with the present tables in place of those that it has."""
    for present in (table(), table_of_others()):
        header, _, _ = present.partition("\n")
        before, _, rest = page.partition(header)
        _, _, after = rest.partition("\n\n")
        page = f"{before}{present}\n\n{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
