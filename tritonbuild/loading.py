"""versions.yaml read from disk; each mistake in it with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tritonbuild.contradictions import find_contradictions
from tritonbuild.errors import MatrixError
from tritonbuild.identifiers import nearest
from tritonbuild.matrix import Matrix


def _line_of(node: yaml.Node | None, location: tuple[str | int, ...]) -> int | None:
    """Return the 1-based line on which the deepest existing part of ``location`` starts."""
    line = node.start_mark.line + 1 if node else None
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """Return the field names of the model that an unknown key at ``location`` was put into."""
    model: type[BaseModel] = Matrix
    parts = iter(location[:-1])
    for part in parts:
        field = model.model_fields.get(str(part))
        if field is None:
            return []
        candidates: list[Any] = [field.annotation, *get_args(field.annotation)]
        if get_origin(field.annotation) in (dict, tuple):
            next(parts, None)  # the key or index, which is no field
        models = [c for c in candidates if get_origin(c) is None and isinstance(c, type)]
        nested = next((c for c in models if issubclass(c, BaseModel)), None)
        if nested is None:
            return []
        model = nested
    return list(model.model_fields)


def _find_duplicates(
    node: yaml.Node | None, location: tuple[str | int, ...] = ()
) -> list[tuple[int, tuple[str | int, ...]]]:
    """Return line and place of each key that its mapping holds twice; YAML would keep the last."""
    found: list[tuple[int, tuple[str | int, ...]]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*location, str(key.value))
            if key.value in seen:
                found.append((key.start_mark.line + 1, here))
            seen.add(str(key.value))
            found += _find_duplicates(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found += _find_duplicates(item, (*location, index))
    return found


def load_matrix(path: Path) -> Matrix:
    """Read and check versions.yaml; raise one MatrixError that names every problem and its line."""
    text = path.read_text(encoding="utf-8")
    hint = f"correct {path.name}; docs/versions.md explains every key"
    try:
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        duplicates = _find_duplicates(tree)  # before merge keys are resolved, which looks like one
        data = loader.construct_document(tree) if tree else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        message = f"{path.name}:{mark.line + 1 if mark else 1}: not valid YAML: {reason}"
        raise MatrixError(message, hint=hint) from error

    def describe(location: tuple[str | int, ...], message: str) -> str:
        where = ".".join(map(str, location)) or "the file"
        return f"{path.name}:{_line_of(tree, location) or 1}: {where}: {message}"

    lines = [
        f"{path.name}:{line}: {'.'.join(map(str, location))}: this key is given twice"
        for line, location in duplicates
    ]
    try:
        matrix = Matrix.model_validate(data)
    except ValidationError as error:
        for issue in error.errors():
            text_ = issue["msg"]
            if issue["type"] == "extra_forbidden":
                close = nearest(str(issue["loc"][-1]), _known_keys(issue["loc"]))
                text_ = "unknown key" + (f", did you mean {close!r}?" if close else "")
            lines.append(describe(issue["loc"], text_))
        raise MatrixError("\n".join(lines), hint=hint) from error
    lines += [describe(*item) for item in find_contradictions(matrix)]
    if lines:
        raise MatrixError("\n".join(lines), hint=hint)
    return matrix
