"""Makes, from the facts in vllm_api/, a `vllm` package that has that version's signatures.

What its functions do is up to the test: each call ends in `Handlers`, and a call that the real
function would refuse, or of what that version lacks, fails as it would with the real package.
"""

from __future__ import annotations

import importlib
import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from packaging.version import Version

FOLDER = Path(__file__).parent / "vllm_api"
VERSIONS = sorted((path.stem for path in FOLDER.glob("*.json")), key=Version)
CALLS = "vllm_calls"

PREAMBLE = f"""from __future__ import annotations
import enum, os, {CALLS}
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Stub(type):
    def __new__(cls, name, *args):
        return super().__new__(cls, name, (), {{"__init__": lambda self, *args, **kwargs: None}})

    def __init__(cls, *args):
        pass

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(name)
"""
ENVIRONMENT = """

def __getattr__(name):
    if name == "VLLM_USE_V1":
        return bool(int(os.environ.get(name, {default})))
    raise AttributeError(name)
"""


class Facts:
    """The facts of one version."""

    def __init__(self, version: str) -> None:
        self.version = version
        text = (FOLDER / f"{version}.json").read_text(encoding="utf-8")
        self.modules: Mapping[str, Any] = json.loads(text)["modules"]

    def find(self, name: str) -> Mapping[str, Any] | None:
        """Return the facts of a class by its name, None where this version has none of it."""
        for module in self.modules.values():
            if name in module.get("classes", {}):
                return module["classes"][name]
        return None

    def has(self, path: str) -> bool:
        """Return whether the version has `Class`, `Class.member` or `Class.method(parameter)`."""
        name, _, rest = path.partition(".")
        facts = self.find(name)
        if facts is None or not rest:
            return facts is not None
        member, _, parameter = rest.rstrip(")").partition("(")
        if not parameter:
            return member in self.members(name)
        parameters = facts.get("methods", {}).get(member, {}).get("parameters", ())
        return parameter in (known.rstrip("=") for known in parameters)

    def members(self, name: str) -> set[str]:
        """Return what an object of the class has: fields, attributes and methods, its own or inherited."""
        facts = self.find(name) or {}
        names = {*facts.get("fields", ()), *facts.get("attributes", ()), *facts.get("methods", ())}
        return names.union(*(self.members(base) for base in facts.get("bases", ())))

    def object_of(self, name: str, values: Mapping[str, Any]) -> SimpleNamespace:
        """Return an object with those of the values whose names the class has in this version."""
        members = self.members(name)
        return SimpleNamespace(**{key: value for key, value in values.items() if key in members})


class Handlers(ModuleType):
    """What the package's functions do, by `Class.method`, and what they were called with."""

    def __init__(self) -> None:
        super().__init__(CALLS)
        self.handlers: dict[str, Callable[..., Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        self.calls.append((name, arguments))
        assert name in self.handlers, f"{name} was called"
        return self.handlers[name](arguments)

    def last(self, name: str) -> dict[str, Any]:
        """Return what the function was last called with."""
        return [arguments for called, arguments in self.calls if called == name][-1]


@contextmanager
def installed(facts: Facts, folder: Path) -> Iterator[Handlers]:
    """Make the version importable as `vllm`."""
    write_package(facts, folder)
    handlers = Handlers()
    sys.modules[CALLS] = handlers
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield handlers
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("vllm", CALLS)]:
            del sys.modules[name]


def write_package(facts: Facts, folder: Path) -> None:
    """Write the package's modules under `folder`."""
    for name, module in facts.modules.items():
        is_package = name == "vllm"
        path = folder.joinpath(*name.split("."), "__init__.py" if is_package else "")
        if not is_package:
            path = path.parent / f"{path.name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in path.relative_to(folder).parents:
            if parent.name:
                (folder / parent / "__init__.py").touch()
        path.write_text("\n".join(_lines(facts, name, module)), encoding="utf-8")


def _lines(facts: Facts, name: str, module: Mapping[str, Any]) -> Iterator[str]:
    yield PREAMBLE
    for export in module.get("exports", ()):
        where = "pooling_params" if export == "PoolingParams" else "sampling_params"
        yield f"from vllm.{where} import {export}"
    for alias, origin in module.get("aliases", {}).items():
        origin_module, _, origin_name = origin.rpartition(".")
        if origin_module in facts.modules:
            yield f"from {origin_module} import {origin_name} as {alias}"
    classes = module.get("classes", {})
    for used in module.get("names", ()):
        if used in typing.__all__:
            yield f"from typing import {used}"
        elif used not in classes:
            yield f"{used} = Stub({used!r})"
    for class_name, described in classes.items():
        yield from _class_lines(class_name, described, classes)
    for function, described in module.get("functions", {}).items():
        yield from _function_lines(function, function, described, "")
    if name == "vllm.envs":
        default = module["VLLM_USE_V1"]
        yield ENVIRONMENT.format(default=repr(default)) if default is not None else ""


def _class_lines(name: str, facts: Mapping[str, Any], classes: Mapping[str, Any]) -> Iterator[str]:
    if "members" in facts:
        yield f"class {name}(enum.Enum):"
        for number, member in enumerate(facts["members"]):
            yield f"    {member} = {number}"
        return
    methods = facts.get("methods", {})
    bases = [base for base in facts.get("bases", ()) if base in classes]
    if not bases and any(method.get("abstractmethod") for method in methods.values()):
        bases = ["ABC"]
    if facts.get("fields"):
        yield "@dataclass"
    yield f"class {name}({', '.join(bases)}):"
    defaults = False
    for field, (annotation, default) in facts.get("fields", {}).items():
        # The real class may have a required field behind others, which a dataclass may not.
        defaults = defaults or default or bool(bases)
        yield f"    {field}: {annotation}" + (" = None" if defaults else "")
    for method, described in methods.items():
        yield from _function_lines(f"{name}.{method}", method, described, "    ", facts)
    yield "    pass"


def _function_lines(
    path: str, name: str, facts: Mapping[str, Any], indent: str, owner: Mapping[str, Any] | None = None
) -> Iterator[str]:
    for decorator in ("property", "classmethod", "staticmethod", "abstractmethod"):
        if facts.get(decorator):
            yield f"{indent}@{decorator}"
    types = (owner or {}).get("arguments", {}) if name == "__init__" else {}
    rendered = []
    for parameter in facts["parameters"]:
        bare = parameter.rstrip("=")
        hint = f": {types[bare]}" if bare in types else ""
        rendered.append(f"{bare}{hint}" + (" = None" if parameter.endswith("=") else ""))
    kind = "async def" if "async" in facts else "def"
    yield f"{indent}{kind} {name}({', '.join(rendered)}):"
    call = f"{CALLS}.call({path!r}, dict(locals()))"
    if name == "__init__":
        parameters = [parameter.rstrip("=") for parameter in facts["parameters"]]
        for attribute in (owner or {}).get("attributes", ()):
            yield f"{indent}    self.{attribute} = {attribute if attribute in parameters else None}"
        yield f"{indent}    pass"
    elif facts.get("async") == "generator":
        yield f"{indent}    for item in {call}:"
        yield f"{indent}        yield item"
    else:
        yield f"{indent}    return {call}"
