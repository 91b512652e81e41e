"""The table of flags in the documentation, which is made from the code."""

import importlib.util
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Optional

import pytest

from fairseq_floater.options import PositionOptions

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flags():
    spec = importlib.util.spec_from_file_location("flags", ROOT / "docs/flags.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(table):
    """Return the other cells of each row, by flag."""
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {flag.strip("`"): rest for flag, *rest in cells}


def test_every_flag_is_in_the_table_with_its_default_and_its_help(flags):
    table = rows(flags.table())
    for option in fields(PositionOptions):
        if option.name == "_name":
            continue
        default, _, meaning = table.pop("--" + option.name.replace("_", "-"))
        if isinstance(option.default, (str, float, int)) and option.default is not False:
            assert default == f"`{getattr(option.default, 'value', option.default)}`", option.name
        words = option.metadata["help"].split()
        assert meaning.startswith(words[0]) and len(meaning.split()) == len(words), option.name
    assert not table


def test_tasks_have_a_table_of_their_own(flags):
    lines = flags.table_of_others().splitlines()[2:]
    found = {tuple(cell.strip(" `") for cell in line.strip("|").split(" | ")[:3]) for line in lines}
    asked = "--task floater_question_answering"
    assert {(asked, "--window-step", "128"), (asked, "--double-separator", "off")} <= found
    assert ("--bpe tokenizer_json", "--tokenizer-json", "see its meaning") in found


def test_the_page_has_the_tables_of_the_code(flags):
    page = flags.PAGE.read_text(encoding="utf-8")
    assert flags.with_tables(page) == page, "run python docs/flags.py"


def test_choices_and_ranges(flags):
    @dataclass
    class Options:
        listed: str = field(default="a", metadata={"help": "x", "choices": ("a", "b")})
        either: Optional[str] = field(default=None, metadata={"help": "x", "choices": ("e", "f")})
        ranged: float = field(default=0.5, metadata={"help": "x", "range": "> 0"})
        free: Optional[int] = field(default=None, metadata={"help": "x"})
        switch: bool = field(default=False, metadata={"help": "with --other-flag, <s/> | x"})

    found = {option.name: flags.values(option) for option in fields(Options)}
    assert found == {
        "listed": "`a`, `b`",
        "either": "`e`, `f`",
        "ranged": "> 0",
        "free": "a whole number",
        "switch": "a switch",
    }
    last = fields(Options)[-1]
    assert flags.default(last) == "off"
    assert flags.meaning(last) == "with `--other-flag`, &lt;s/> &#124; x"
