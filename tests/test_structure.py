"""The shape of the package: what may import what, how long files are, where fairseq is changed."""

import ast
import inspect
import re
import sys
from functools import cache

import pytest
from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin
from fairseq.trainer import Trainer
from places import PLUGIN as PACKAGE

from fairseq_floater import hooks
from fairseq_floater.encoders import KINDS

FILES = sorted(PACKAGE.rglob("*.py"))

#: from the bottom up: a file imports from its own floor and those below it
FLOORS = [
    ["errors", "files", "checksums", "progress", "devices"],
    ["ode"],
    ["encoders"],
    ["training"],
    ["criterions", "data"],
    ["options"],
    ["blocks"],
    ["models"],
    ["checkpoints"],
    ["inspection"],
    ["results"],
    ["understanding", "tasks"],
    ["hooks"],
    ["commands"],
    ["cli"],
    ["__init__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def module(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module(path): path for path in FILES}


@cache
def tree(path):
    return ast.parse(path.read_text())


@cache
def nodes(path):
    """Return all nodes of a file's syntax tree."""
    return [*ast.walk(tree(path))]


def imports(path):
    """Return the modules of the package that a file imports, anywhere in the file."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    ours = {name.removeprefix("fairseq_floater.") for name in found if "fairseq_floater." in name}
    return {name for name in ours if name in MODULES}


@cache
def graph():
    """Return the modules that each module imports."""
    return {name: imports(path) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_no_arrow_runs_up(name):
    own = FLOOR[name.split(".")[0]]
    for other in graph()[name]:
        assert FLOOR[other.split(".")[0]] <= own, f"{name} imports {other}, which stands above it"


def test_no_circle():
    """No circle among files; a folder's ``__init__`` collects what its files define."""
    state = {}

    def visit(name, path):
        if state.get(name) == "open":
            pytest.fail(" -> ".join([*path, name]))
        if name not in state:
            state[name] = "open"
            for other in sorted(graph()[name] - {name}):
                visit(other, [*path, name])
            state[name] = "done"

    for name in graph():
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_kinds_of_position_encoders_are_told_apart_in_their_folder_only():
    """Elsewhere, what matters is what a kind can do, not its name."""
    for path in FILES:
        if "encoders" in path.parts:
            continue
        kinds = set(KINDS)
        if path.name == "to_ctranslate2.py":
            kinds -= {"relative-bias", "rotary", "shaw"}  # CTranslate2 has an option for each
        names = rf"['\"]({'|'.join(kinds)})['\"]"
        compared = rf"(position_encoder\b|\bkind\b|\bencoder\b)\W{{0,4}}(==|!=|in)\s*\(?{names}"
        assert not re.search(compared, path.read_text()), path


def test_stacks_are_reached_by_their_names_in_the_state_dict():
    for path in FILES:
        if "models" in path.parts and path.name == "floater_transformer.py":
            continue
        if "export" in path.parts:
            continue  # an exported program has a source and a target
        for node in nodes(path):
            if isinstance(node, ast.Attribute) and node.attr in ("encoder", "decoder"):
                assert ast.unparse(node.value) != "model", f"{path.name}:{node.lineno}"


def test_fairseq_is_changed_by_hooks_alone():
    """No other file assigns to an attribute of anything imported from fairseq, torch or sys."""
    for path in FILES:
        theirs = set()
        for node in nodes(path):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                source = getattr(node, "module", None) or ""
                for alias in node.names:
                    if (source or alias.name).split(".")[0] in ("fairseq", "torch", "sys"):
                        theirs.add(alias.asname or alias.name.split(".")[0])
        for node in nodes(path):
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            for target in targets if isinstance(node, (ast.Assign, ast.AugAssign)) else ():
                while isinstance(target, ast.Attribute):
                    target = target.value
                    if isinstance(target, ast.Name) and target.id in theirs:
                        assert path.name == "hooks.py", f"{path.name}:{node.lineno}"


def test_every_hook_has_a_reason_and_is_installed_once():
    functions = {v for n, v in vars(hooks).items() if inspect.isfunction(v) and n.startswith("_")}
    assert set(hooks.HOOKS) == functions and len(hooks.HOOKS) == len(functions)
    assert all(hook.__doc__.strip().endswith(".") for hook in hooks.HOOKS)
    changed = [
        *((Trainer, name) for name in ("train_step", "__init__")),
        *((checkpoint_utils, name) for name in ("load_checkpoint", "load_checkpoint_to_cpu")),
        *((checkpoint_utils, "torch_persistent_save"), (PathManager, "copy")),
        *((distributed_utils, "broadcast_object"), (data_utils, "load_indexed_dataset")),
        *((_FP16OptimizerMixin, "build_fp32_params"), (sys, "excepthook")),
        (options, "parse_args_and_arch"),
    ]
    before = [getattr(owner, name) for owner, name in changed]
    hooks.install()
    assert before == [getattr(owner, name) for owner, name in changed]


def test_nothing_is_decided_by_the_command_line_at_import():
    for path in FILES:
        for node in tree(path).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert "sys.argv" not in ast.unparse(node) or "__main__" in ast.unparse(node), path
