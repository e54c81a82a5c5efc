"""What keeps a file readable at one sitting: its size, and no tree of classes to climb."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "exporter"

MOST_LINES = 400
MOST_CLASSES = 5
MOST_FUNCTIONS = 10
MOST_PUBLIC_METHODS = 10
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module:
    """One parsed file, and what its names stand for elsewhere."""

    def __init__(self, path: Path, source: Path) -> None:
        self.name = ".".join(path.relative_to(source).with_suffix("").parts)
        self.where = path.relative_to(source).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        self.imported: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    self.imported[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def bases(self, node: ast.ClassDef) -> list[str]:
        """The full names of the classes that `node` inherits from."""
        found = []
        for base in node.bases:
            name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
            head, _, rest = name.partition(".")
            if head in {other.name for other in self.classes}:
                found.append(f"{self.name}.{name}")
            else:
                head = self.imported.get(head, head)
                found.append(f"{head}.{rest}" if rest else head)
        return found


def size_offenders(module: Module) -> Iterator[str]:
    """A line for each count of `module` that is over its bound."""
    body = [module.tree.body]
    functions = 0
    while body:  # a function defined under `if` or `try` is still one of the module's
        for node in body.pop():
            functions += isinstance(node, FUNCTION)
            if isinstance(node, ast.If | ast.Try | ast.With):
                body += [node.body, getattr(node, "orelse", [])]
                body += [handler.body for handler in getattr(node, "handlers", [])]
    counts = [
        ("lines", len(module.text.splitlines()), MOST_LINES),
        ("classes", len(module.classes), MOST_CLASSES),
        ("module-level functions", functions, MOST_FUNCTIONS),
    ]
    for node in module.classes:
        public = {
            child.name
            for child in node.body
            if isinstance(child, FUNCTION) and not child.name.startswith("_")
        }
        counts.append((f"public methods in {node.name}", len(public), MOST_PUBLIC_METHODS))
    for what, count, most in counts:
        if count > most:
            yield f"{module.where}: {count} {what}, at most {most}"


def ancestry_offenders(modules: list[Module]) -> Iterator[str]:
    """A line for each class that is an abstract base, or stands too deep in a tree."""
    bases = {
        f"{module.name}.{node.name}": module.bases(node)
        for module in modules
        for node in module.classes
    }

    def steps(name: str) -> int:
        return 1 + max((steps(base) for base in bases[name] if base in bases), default=0)

    def is_error(name: str) -> bool:
        if name in bases:
            return any(is_error(base) for base in bases[name])
        found = getattr(builtins, name, None)
        return isinstance(found, type) and issubclass(found, BaseException)

    for module in modules:
        for node in ast.walk(module.tree):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            if (isinstance(node, ast.Import) and "abc" in names) or (
                isinstance(node, ast.ImportFrom) and node.module == "abc"
            ):
                yield f"{module.where}:{node.lineno}: imports abc; use a Callable and a table"
            if isinstance(node, ast.Name | ast.Attribute) and "runtime_checkable" in (
                getattr(node, "id", ""),
                getattr(node, "attr", ""),
            ):
                yield f"{module.where}:{node.lineno}: Protocol is for type checking only"
        for node in module.classes:
            name = f"{module.name}.{node.name}"
            most = 2 if is_error(name) else 1
            if steps(name) > most:
                parents = ", ".join(bases[name])
                where = f"{module.where}:{node.lineno}: {node.name}({parents})"
                yield f"{where} is {steps(name)} steps down, at most {most}"


def offenders(source: Path) -> list[str]:
    """One line for each breach in the files under `source`."""
    modules = [Module(path, source) for path in sorted(source.rglob("*.py"))]
    sizes = [line for module in modules for line in size_offenders(module)]
    return sizes + list(ancestry_offenders(modules))


def test_every_file_keeps_the_house_rules() -> None:
    found = offenders(SOURCE)
    assert not found, "\n" + "\n".join(found)


def lines(pattern: str, count: int) -> str:
    return "\n".join(pattern.format(number) for number in range(count))


@pytest.mark.parametrize(
    ("most", "pattern", "reason"),
    [
        (400, "x{} = 1", "401 lines"),
        (5, "class C{}: ...", "6 classes"),
        (10, "def f{}(): ...", "11 module-level functions"),
        (10, "async def f{}(): ...", "11 module-level functions"),
    ],
)
def test_a_file_may_reach_a_bound_and_not_pass_it(
    tmp_path: Path, most: int, pattern: str, reason: str
) -> None:
    file = tmp_path / "a.py"
    file.write_text(lines(pattern, most))
    assert offenders(tmp_path) == []
    file.write_text(lines(pattern, most + 1))
    (found,) = offenders(tmp_path)
    assert reason in found


def test_a_function_under_a_condition_counts_and_one_in_a_function_does_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.py"
    file.write_text(lines("def f{}():\n    def inner(): ...", 10))
    assert offenders(tmp_path) == []
    file.write_text(file.read_text() + "\nif f0:\n    pass\nelse:\n    def late(): ...")
    assert offenders(tmp_path) == ["a.py: 11 module-level functions, at most 10"]


def test_private_methods_and_setters_are_not_public_methods(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    body = (
        lines("    def m{}(self): ...", 10) + "\n    def _m(self): ...\n    def __len__(self): ..."
    )
    file.write_text("class C:\n" + body + "\n    @m1.setter\n    def m1(self, value): ...")
    assert offenders(tmp_path) == []
    file.write_text("class C:\n" + body + "\n    def m10(self): ...")
    assert offenders(tmp_path) == ["a.py: 11 public methods in C, at most 10"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import abc", "imports abc"),
        ("from abc import ABC, abstractmethod", "imports abc"),
        ("class A: ...\nclass B(A): ...", "B(a.A) is 2 steps down, at most 1"),
        ("class A(dict[str, int]): ...\nclass B(A): ...", "B(a.A) is 2 steps down, at most 1"),
        ("from b import Base\nclass A(Base): ...", "A(b.Base) is 2 steps down, at most 1"),
        ("import b\nclass A(b.Base): ...", "A(b.Base) is 2 steps down, at most 1"),
        (
            "class A(Exception): ...\nclass B(A): ...\nclass C(B): ...",
            "C(a.B) is 3 steps down, at most 2",
        ),
        (
            "import typing as t\n@t.runtime_checkable\nclass P(t.Protocol): ...",
            "Protocol is for type checking only",
        ),
    ],
)
def test_a_tree_of_classes_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "b.py").write_text("class Base: ...")
    (tmp_path / "a.py").write_text(text)
    (found,) = offenders(tmp_path)
    assert found.startswith("a.py")
    assert reason in found


@pytest.mark.parametrize(
    "text",
    [
        "class A(Exception): ...\nclass B(A): ...",
        "import http.client\nclass A(http.client.HTTPConnection): ...",
        "from typing import Protocol\nclass A(Protocol): ...",
        "from collections.abc import Mapping\nclass A(Mapping[str, int]): ...",
        "from enum import Enum\nclass A(str, Enum): ...",
    ],
)
def test_one_step_from_a_foreign_class_is_allowed(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    assert offenders(tmp_path) == []
