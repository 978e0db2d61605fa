"""Which files of a checkout decide what a folder of tests does: read off their imports, none of them run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def find_files_behind(tests: Path, root: Path, *, without: frozenset[str] = frozenset()) -> list[Path]:
    """Return all files of the folder ``tests``, and every other one below ``root`` that they import.

    That is also what the imported files import, the packages that all of these lie in, and the ``conftest.py`` of
    each folder above, which pytest reads unasked. Packages of ``root`` named in ``without`` are passed over.
    """
    found = {path for path in tests.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    above = [folder for folder in tests.parents if folder.is_relative_to(root)]
    found.update(path for folder in above if (path := folder / "conftest.py").is_file())
    unread = sorted(found)
    while unread:
        path = unread.pop()
        if path.suffix != ".py":
            continue
        new = {*_packages_of(path, root)}
        for name in _read_imports(path):
            if name.partition(".")[0] not in without:
                new.update(_files_of(name, root))
        unread += sorted(new - found)
        found |= new
    return sorted(found)


def _read_imports(path: Path) -> Iterator[str]:
    """Yield the full name of whatever a file imports, be it a module or something in one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """Yield the modules and packages of ``root`` that importing a name runs."""
    path = root
    for part in name.split("."):
        path /= part
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file


def _packages_of(path: Path, root: Path) -> Iterator[Path]:
    for folder in path.parents:
        if folder != root and folder.is_relative_to(root) and (file := folder / "__init__.py").is_file():
            yield file
