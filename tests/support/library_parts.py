"""Finds where a source file uses what a library keeps to itself: private names, and changes to its modules."""

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("engine", "handlers", "http", "orderflow") for path in (ROOT / room).rglob("*.py"))
_OWN = {"engine", "handlers", "lookup", "orderflow"}
_DOCUMENTED = {"os._exit"}
_CHANGES = {"add", "append", "clear", "discard", "extend", "insert", "pop", "remove", "setdefault", "update"}


def is_library(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in _OWN and top not in sys.stdlib_module_names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


def parts_used(source: str) -> set[str]:
    """Return the private names that a file takes from outside its own classes, and what it changes in a library."""
    tree = ast.parse(source)
    found = {
        part for name in imported_modules(tree) if is_library(name) for part in name.split(".") if is_private(part)
    }
    libraries = _names_of_libraries(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= _private_attribute(node)
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            found |= _change(node, libraries)
        elif isinstance(node, ast.Call):
            found |= _call(node, libraries)
        elif isinstance(node, ast.ClassDef):
            found |= {name for name in _used_of_self(node) if name not in _given_to_self(node)}
    return found


def shared_names(path: Path) -> set[str]:
    """Return the private names that a class of this file has in common with a library's class that it is made from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    shared: set[str] = set()
    for node in [node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removeprefix("http.")
        made = getattr(importlib.import_module(module), node.name)
        for base in made.__mro__[1:]:
            if is_library(base.__module__):
                shared |= (_used_of_self(node) | _given_to_self(node)) & _private_names_of(base)
    return shared


def _names_of_libraries(tree: ast.AST) -> set[str]:
    """Return the names by which a file calls libraries, and what it imports from them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and is_library(node.module or ""):
            names |= {one.asname or one.name for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname or one.name.partition(".")[0] for one in node.names if is_library(one.name)}
    return names


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _private_attribute(node: ast.Attribute) -> set[str]:
    of_self = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
    mine = not is_private(node.attr) or of_self or ast.unparse(node) in _DOCUMENTED
    return set() if mine else {node.attr}


def _change(node: ast.expr, libraries: set[str]) -> set[str]:
    return {ast.unparse(node)} if _root(node) in libraries else set()


def _call(node: ast.Call, libraries: set[str]) -> set[str]:
    function, arguments = node.func, node.args
    if isinstance(function, ast.Attribute) and function.attr in _CHANGES and not isinstance(function.value, ast.Name):
        return _change(function.value, libraries)
    if not isinstance(function, ast.Name) or function.id not in {"getattr", "setattr", "delattr", "hasattr"}:
        return set()
    names = {one.value for one in arguments if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {name for name in names if is_private(name)} | (
        _change(arguments[0], libraries) if function.id in {"setattr", "delattr"} else set()
    )


def _of_self(node: ast.ClassDef) -> Iterator[ast.Attribute]:
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and _root(one) in {"self", "cls"} and isinstance(one.value, ast.Name):
            yield one


def _used_of_self(node: ast.ClassDef) -> set[str]:
    return {one.attr for one in _of_self(node) if is_private(one.attr)}


def _given_to_self(node: ast.ClassDef) -> set[str]:
    """Return the private names that a class defines, or assigns to its objects."""
    given = {one.attr for one in _of_self(node) if isinstance(one.ctx, ast.Store)}
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            given.add(one.name)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            given.add(one.id)
    return {name for name in given if is_private(name)}


def _private_names_of(base: type) -> set[str]:
    names = {name for name in vars(base) if is_private(name) and name != "_abc_impl"}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
    except (OSError, TypeError):
        return names  # not written in Python
    return names | {name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for name in _used_of_self(node)}
