"""Imports point down only, and layers 0 to 3 import the standard library alone.

The table is the architecture; a module that is in none of its rows is an offender too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "exporter"

# Longest matching name decides. The package's own __init__ is the door that users come through:
# it may name anything, and nothing inside may come through it.
LAYERS = {
    "leakwarden": 7,
    "leakwarden.__main__": 7,
    "leakwarden.cli": 7,
    "leakwarden.config": 7,
    "leakwarden.config_file": 7,
    "leakwarden.config_keys": 7,
    "leakwarden.config_values": 7,
    "leakwarden.app": 6,
    "leakwarden.serving": 6,
    "leakwarden.service": 5,
    "leakwarden.exporters": 4,
    "leakwarden.messaging": 4,
    "leakwarden.report": 4,
    "leakwarden.snapshot": 3,
    "leakwarden.policy": 2,
    "leakwarden.managers": 1,
    "leakwarden.monitors": 1,
    "leakwarden.core": 0,
    "leakwarden.settings": 0,
    "leakwarden.version": 0,
}
HIGHEST_INSIDE_A_USERS_PROCESS = 3
LAZY_EXCEPTIONS = {"psutil"}  # process figures where the system is not Linux


def module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int | None:
    """The module's row in the table; None where it has none. The door's row is its own alone."""
    name = module
    while name != "leakwarden":
        if name in LAYERS:
            return LAYERS[name]
        name = name.rpartition(".")[0]
    return LAYERS["leakwarden"] if module == "leakwarden" else None


def imports(tree: ast.AST, modules: set[str]) -> Iterator[tuple[int, str, bool]]:
    """(line, module imported, whether inside a function), type-checking imports included."""
    inside_function = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        lazy = id(node) in inside_function
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, lazy
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or ""), lazy
                continue
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in modules else node.module or "", lazy


def offenders(source: Path) -> list[str]:
    """One line for each import that breaks the rule, `file:line: why`."""
    paths = {module_name(path, source): path for path in sorted(source.rglob("*.py"))}
    found = []
    for module, path in paths.items():
        own = layer(module)
        where = path.relative_to(source).as_posix()
        if own is None:
            found.append(f"{where}: {module} is in no layer")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, imported, lazy in imports(tree, set(paths)):
            top = imported.partition(".")[0]
            if imported.startswith("."):
                found.append(f"{where}:{line}: relative import {imported}: write the whole name")
            elif top == "leakwarden":
                target = layer(imported)
                if target is None or target > own:
                    found.append(
                        f"{where}:{line}: layer {own} imports {imported} of layer {target}"
                    )
            elif (
                own <= HIGHEST_INSIDE_A_USERS_PROCESS
                and top not in sys.stdlib_module_names
                and not (lazy and top in LAZY_EXCEPTIONS)
            ):
                found.append(f"{where}:{line}: layer {own} imports {top}, a foreign package")
    return found


def cycles(source: Path) -> list[str]:
    """The modules that import each other, by any number of steps, imports in functions included."""
    paths = {module_name(path, source): path for path in sorted(source.rglob("*.py"))}
    below = {
        module: {
            name
            for _, name, _ in imports(ast.parse(path.read_text(encoding="utf-8")), set(paths))
            if name in paths and name != module
        }
        for module, path in paths.items()
    }
    while leaves := {module for module, names in below.items() if not names & below.keys()}:
        below = {module: names for module, names in below.items() if module not in leaves}
    # What is left is a cycle or imports one: peel from the other side too.
    while roots := below.keys() - {name for names in below.values() for name in names}:
        below = {module: names for module, names in below.items() if module not in roots}
    return sorted(below)


def test_imports_point_down_only() -> None:
    found = offenders(SOURCE)
    assert not found, "\n" + "\n".join(found)


def test_no_two_modules_import_each_other() -> None:
    assert cycles(SOURCE) == []


IMPORT_ALONE = """
import importlib, importlib.abc, sys, threading

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top != "leakwarden" and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not in the standard library")

sys.meta_path.insert(0, Blocker())
sys.path.append(sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
upper = sorted(name for name in sys.modules if name.startswith(
    ("leakwarden.app", "leakwarden.service", "leakwarden.exporters", "leakwarden.messaging",
     "leakwarden.cli", "leakwarden.config")))
assert not upper, f"importing layers 0 to 3 loaded {upper}"
assert threading.active_count() == 1, "an import started a thread"
print(len(sys.argv) - 2)
"""


def import_alone(source: Path, modules: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", IMPORT_ALONE, str(source)]
    return subprocess.run(
        [*command, *modules], capture_output=True, text=True, timeout=60, check=False
    )


def lower_modules(source: Path) -> list[str]:
    names = [module_name(path, source) for path in sorted(source.rglob("*.py"))]
    return [
        name
        for name in names
        if (own := layer(name)) is not None and own <= HIGHEST_INSIDE_A_USERS_PROCESS
    ]


def test_layers_0_to_3_load_without_site_packages_and_start_nothing() -> None:
    modules = lower_modules(SOURCE)
    done = import_alone(SOURCE, modules)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(modules) > 10


def tree_of(folder: Path, files: dict[str, str]) -> Path:
    for name in ("", "core/", "managers/", "monitors/", "service/"):
        files = {f"leakwarden/{name}__init__.py": "", **files}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("core/a.py", "import leakwarden.managers", "layer 0 imports leakwarden.managers"),
        ("core/a.py", "from leakwarden import managers", "layer 0 imports leakwarden.managers"),
        ("core/a.py", "from leakwarden import Warden", "layer 0 imports leakwarden of layer 7"),
        ("core/a.py", "def f():\n    import leakwarden.service", "leakwarden.service of layer 5"),
        ("managers/a.py", "import yaml", "imports yaml, a foreign package"),
        ("managers/a.py", "def f():\n    import yaml", "imports yaml, a foreign package"),
        ("monitors/a.py", "import psutil", "imports psutil, a foreign package"),
        ("service/a.py", "from . import b", "relative import"),
        ("helpers/a.py", "", "is in no layer"),
    ],
)
def test_an_import_that_breaks_the_rule_is_named(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (found,) = offenders(tree_of(tmp_path, {f"leakwarden/{name}": text}))
    assert f"leakwarden/{name}" in found
    assert reason in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("service/a.py", "import starlette\nfrom leakwarden import managers"),
        ("monitors/a.py", "def f():\n    import psutil"),
        ("managers/a.py", "import leakwarden.monitors\nfrom leakwarden.core import x"),
        ("core/a.py", "from collections.abc import Mapping\nimport os.path"),
    ],
)
def test_an_import_that_keeps_the_rule_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    assert offenders(tree_of(tmp_path, {f"leakwarden/{name}": text})) == []


def test_modules_that_import_each_other_are_named_and_their_users_are_not(tmp_path: Path) -> None:
    files = {
        "leakwarden/core/a.py": "import leakwarden.core.b",
        "leakwarden/core/b.py": "def f():\n    from leakwarden.core import c",
        "leakwarden/core/c.py": "from leakwarden.core.a import x\nimport leakwarden.core.leaf",
        "leakwarden/core/leaf.py": "",
        "leakwarden/managers/user.py": "import leakwarden.core.a",
    }
    expected = ["leakwarden.core.a", "leakwarden.core.b", "leakwarden.core.c"]
    assert cycles(tree_of(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import yaml", "yaml is not in the standard library"),
        ("import importlib\nimportlib.import_module('yaml')", "yaml is not in the standard"),
        ("import leakwarden.service", "loaded ['leakwarden.service']"),
        (
            "import threading as t\nt.Thread(target=t.Event().wait, daemon=True).start()",
            "an import started a thread",
        ),
    ],
)
def test_a_module_that_does_more_than_define_is_caught_by_importing_it(
    tmp_path: Path, text: str, reason: str
) -> None:
    source = tree_of(tmp_path, {"leakwarden/core/a.py": text})
    done = import_alone(source, lower_modules(source))
    assert done.returncode != 0
    assert reason in done.stderr
