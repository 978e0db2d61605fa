"""The names and simple types of vLLM's engine arguments, read without importing vLLM.

Importing vLLM takes many seconds; parsing one of its files takes a fraction of one, so a mistake
in model.json can be answered at once.
"""

from __future__ import annotations

import ast
import importlib.util
import os

SIMPLE_TYPES = frozenset({"bool", "int", "float", "str"})
ARGS_CLASSES = ("EngineArgs", "AsyncEngineArgs")


def find_arg_utils() -> str | None:
    """Return the path of vLLM's engine/arg_utils.py, or None when vLLM is not installed."""
    # For a top-level package find_spec looks it up on the path and does not run it.
    spec = importlib.util.find_spec("vllm")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = os.path.join(folder, "engine", "arg_utils.py")
        if os.path.exists(path):
            return path
    return None


def read_fields(path: str) -> dict[str, str]:
    """Map each engine argument to its type: 'bool', 'int', 'float', 'str', or '' if not simple.

    An optional type is followed by '?'. Raises OSError or SyntaxError when the file is unreadable.
    """
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    fields: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in ARGS_CLASSES:
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    fields[item.target.id] = _simple_type(item.annotation)
    return {name: kind for name, kind in fields.items() if not name.startswith("_")}


def _simple_type(node: ast.expr) -> str:
    if isinstance(node, ast.Name) and node.id in SIMPLE_TYPES:
        return node.id
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [_simple_type(node.left), _simple_type(node.right)]
        if _is_none(node.right) and sides[0] in SIMPLE_TYPES:
            return sides[0] + "?"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        inner = node.slice
        if isinstance(inner, ast.Index):  # Python 3.8
            inner = inner.value  # type: ignore[attr-defined]
        if node.value.id == "Optional" and _simple_type(inner) in SIMPLE_TYPES:
            return _simple_type(inner) + "?"
    return ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
