"""Changes to the text of a YAML file that leave every other byte as it is, comments and line breaks too.

Libraries that write YAML lay long scalars out anew; here the parser only says where a value stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import yaml

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.:/@+-]*|\d{4}-\d\d-\d\dT[0-9:]+Z")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Put ``value`` at ``path``; where there is nothing yet, behind the key ``after`` of its mapping."""

    path: tuple[str, ...]
    value: str
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Rename:
    """Give the entry ``old`` of the mapping ``table`` another name, wherever a key ``reference`` names it."""

    table: str
    reference: str
    old: str
    new: str


def apply_edits(text: str, edits: Iterable[Edit | Rename]) -> str:
    """Return ``text`` after all ``edits``, in their order; raise KeyError where one has no place."""
    for edit in edits:
        text = _rename(text, edit) if isinstance(edit, Rename) else _put(text, edit)
    return text


def _put(text: str, edit: Edit) -> str:
    path, missing = list(edit.path), list[str]()
    while True:
        node = _find(yaml.compose(text, Loader=yaml.SafeLoader), path)
        if node is not None:
            break
        missing.insert(0, path.pop())
    if not missing:
        return _splice(text, [(node, edit.value)])
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise KeyError(".".join(edit.path))
    keys = {key.value: (key, value) for key, value in node.value}
    # Only the end of a scalar is where it seems to be; that of a mapping is where the next one begins.
    key, sibling = keys.get(edit.after) or node.value[-1]
    if not isinstance(sibling, yaml.ScalarNode):
        raise KeyError(".".join(edit.path))
    lines, indent = [], key.start_mark.column
    for depth, name in enumerate(missing):
        value = f" {_scalar(edit.value)}" if name == missing[-1] else ""
        lines.append(f"{' ' * (indent + 2 * depth)}{_scalar(name)}:{value}\n")
    line_end = text.find("\n", sibling.end_mark.index) + 1 or len(text)
    return text[:line_end] + "".join(lines) + text[line_end:]


def _rename(text: str, edit: Rename) -> str:
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    table = _find(tree, [edit.table])
    entries = table.value if isinstance(table, yaml.MappingNode) else []
    found = [key for key, _ in entries if key.value == edit.old]
    if not found:
        missing = f"{edit.table}.{edit.old}"
        raise KeyError(missing)
    return _splice(text, [(node, edit.new) for node in [*found, *_references(tree, edit)]])


def _references(node: yaml.Node | None, edit: Rename) -> list[yaml.Node]:
    found: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == edit.reference and value.value == edit.old:
                found.append(value)
            found += _references(value, edit)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += _references(item, edit)
    return found


def _find(node: yaml.Node | None, path: Sequence[str]) -> yaml.Node | None:
    for part in path:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in entries if key.value == part), None)
    return node


def _splice(text: str, changes: Iterable[tuple[yaml.Node, str]]) -> str:
    places = {node.start_mark.index: (node, value) for node, value in changes}  # an anchor is met twice
    for start, (node, value) in sorted(places.items(), reverse=True):
        if not isinstance(node, yaml.ScalarNode):
            raise KeyError(value)
        quote = node.style if node.style in ("'", '"') else ""
        text = f"{text[:start]}{quote}{value}{quote}{text[node.end_mark.index :]}"
    return text


def _scalar(value: str) -> str:
    """Return a value as YAML reads it back as text: quoted where it could be a number."""
    return value if _PLAIN.fullmatch(value) else f'"{value}"'
