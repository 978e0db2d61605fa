"""Writes vllm_api/<version>.json: the signatures that vLLM has in each version that the tests cover.

    make api-facts [VERSIONS="version ..."]

Only the few files that the adapters import are read, out of the wheel on the package index. What
is kept are facts: names, parameters, types and which of them have defaults.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from remotezip import RemoteZip

FOLDER = Path(__file__).parent / "vllm_api"

# Every one of versions.yaml, two or more of every way that a part of the adapters takes, and the ends.
VERSIONS = (
    *("0.2.0", "0.2.1.post1", "0.2.3", "0.2.7", "0.3.0", "0.3.3", "0.4.0.post1", "0.4.3"),
    *("0.5.0.post1", "0.5.3.post1", "0.5.5", "0.6.3.post1", "0.6.6.post1", "0.7.0", "0.7.3"),
    *("0.8.1", "0.8.4", "0.8.5", "0.9.0.1", "0.9.2", "0.10.1.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2"),
    *("0.13.0", "0.14.0", "0.15.1", "0.17.1", "0.19.0", "0.20.2", "0.22.1", "0.24.0", "0.27.1"),
    *("0.30.0", "0.33.0"),
)

# Where the classes are that the adapters use, and which methods of them. `*` means all.
CLASSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "vllm.engine.arg_utils": {"EngineArgs": ("create_engine_config",), "AsyncEngineArgs": ()},
    "vllm.engine.async_llm_engine": {"AsyncLLMEngine": ("*",)},
    "vllm.engine.llm_engine": {"LLMEngine": ("add_logger", "remove_logger")},
    "vllm.engine.metrics": {
        "Stats": (),
        "StatLogger": ("log", "_log_prometheus", "_log_prometheus_interval"),
        "StatLoggerBase": ("*",),
    },
    "vllm.engine.metrics_types": {"Stats": (), "StatLoggerBase": ("*",)},
    "vllm.lora.request": {"LoRARequest": ()},
    "vllm.outputs": dict.fromkeys(
        (
            *("CompletionOutput", "RequestOutput", "PoolingOutput", "PoolingRequestOutput"),
            *("EmbeddingOutput", "EmbeddingRequestOutput"),
        ),
        (),
    ),
    "vllm.pooling_params": {"PoolingParams": ("verify",)},
    "vllm.sampling_params": {
        "RequestOutputKind": (),
        "SamplingParams": ("__init__",),
        "StructuredOutputsParams": (),
        "GuidedDecodingParams": (),
    },
    "vllm.usage.usage_lib": {"UsageContext": ()},
    "vllm.v1.engine.async_llm": {"AsyncLLM": ("*",)},
    "vllm.v1.engine.output_processor": {"RequestOutputCollector": ()},
    "vllm.v1.metrics.loggers": {
        "StatLoggerBase": ("*",),
        "AggregateStatLoggerBase": ("*",),
        "PrometheusStatLogger": ("*",),
        "StatLoggerManager": ("__init__", "record"),
    },
    "vllm.v1.metrics.stats": dict.fromkeys(
        (
            *("BaseCacheStats", "PrefixCacheStats", "SchedulerStats"),
            *("IterationStats", "FinishedRequestStats"),
        ),
        ("*",),
    ),
    "vllm.v1.serial_utils": {
        "MsgpackEncoder": ("__init__", "encode"),
        "MsgpackDecoder": ("__init__", "decode"),
    },
}
FUNCTIONS = {"vllm.envs": ("enable_envs_cache",)}
PACKAGE_NAMES = ("PoolingParams", "SamplingParams")
# Attributes of engines that the adapters look at, where their methods set them.
ATTRIBUTES = frozenset(
    {
        *("background_loop", "engine", "model_config", "vllm_config", "tokenizer", "stat_loggers"),
        *("max_model_len",),
    }
)
# Whose constructors say which types they take.
CONSTRUCTED = frozenset({"SamplingParams"})
ENGINES = frozenset({"AsyncLLMEngine", "AsyncLLM", "LLMEngine"})


def read_wheel(version: str) -> tuple[RemoteZip, frozenset[str]]:
    """Open the version's wheel on the index, wherever pip's and uv's settings say that is."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.in")
        wanted.write_text(f"vllm=={version}\n", encoding="utf-8")
        uv = Path(sys.executable).with_name("uv")
        argv = [str(uv), "pip", "compile", str(wanted), "--no-deps", "--format", "pylock.toml", "--quiet"]
        argv += ["--only-binary", ":all:", "--python-version", "3.11"]
        argv += ["--python-platform", "x86_64-manylinux_2_40"]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    urls: list[str] = re.findall(r'url = "([^"]+\.whl)"', done.stdout)
    wheel = RemoteZip(urls[0])
    return wheel, frozenset(wheel.namelist())


class Module:
    """One of the wheel's files, parsed."""

    def __init__(self, source: str) -> None:
        self._tree = ast.parse(source)
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.aliases: dict[str, str] = {}
        self.names: set[str] = set()
        for node in _statements(self._tree.body):
            self._note(node)

    def _note(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
            self.names.add(node.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.functions[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.names.add(node.targets[0].id)
            if isinstance(node.value, ast.Name):
                self.aliases[node.targets[0].id] = node.value.id

    def origin(self, name: str) -> str:
        """Return where an imported name comes from."""
        for node in _statements(self._tree.body):
            if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
                return f"{node.module}.{name}"
        return name

    def default_of_variable(self, name: str) -> str | None:
        """Return the default of one of vLLM's environment variables, None when it is not there."""
        for node in ast.walk(self._tree):
            if (
                isinstance(node, ast.Call)
                and len(node.args) == 2
                and all(isinstance(argument, ast.Constant) for argument in node.args)
                and node.args[0].value == name  # type: ignore[attr-defined]
            ):
                return str(node.args[1].value)  # type: ignore[attr-defined]
        return None

    def exports(self, name: str) -> bool:
        """Return whether a package offers a name, imported at once or when it is asked for."""
        lazy = any(isinstance(node, ast.Constant) and node.value == name for node in ast.walk(self._tree))
        return name in self.names or lazy


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs when a module is imported, without what only type checkers see."""
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" in ast.unparse(node.test):
                yield from _statements(node.orelse)
            else:
                yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _statements([*node.body, *node.orelse])
        else:
            yield node


def describe_class(node: ast.ClassDef, methods: tuple[str, ...]) -> dict[str, Any]:
    """Return the facts of a class: its bases, fields, attributes and methods."""
    facts: dict[str, Any] = {"bases": [ast.unparse(base) for base in node.bases]}
    facts["fields"], facts["methods"], members, attributes = {}, {}, [], set()
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default = item.value is not None
            facts["fields"][item.target.id] = [ast.unparse(item.annotation), default]
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            members.append(item.targets[0].id)
        elif isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
            constructs = item.name == "__init__" and not facts["fields"]
            # Where a method is overloaded, the last definition is the one that runs.
            if constructs or item.name in methods or ("*" in methods and not item.name.startswith("_")):
                facts["methods"][item.name] = describe_function(item)
            if constructs and node.name in CONSTRUCTED:
                facts["arguments"] = {
                    argument.arg: ast.unparse(argument.annotation)
                    for argument in item.args.args
                    if argument.annotation is not None
                }
            attributes |= _own_attributes(item)
    if any(base in ("Enum", "enum.Enum", "IntEnum", "enum.IntEnum") for base in facts["bases"]):
        facts["members"] = members
    if node.name in ENGINES:
        attributes &= ATTRIBUTES
    facts["attributes"] = sorted(attributes - set(facts["fields"]))
    return {key: value for key, value in facts.items() if value}


def _own_attributes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the attributes that a method gives its object."""
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    }


def describe_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    """Return what kind of function it is and its parameters: `name`, or `name=` with a default."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    parameters = [argument.arg for argument in positional]
    for index in range(len(positional) - len(arguments.defaults), len(positional)):
        parameters[index] += "="
    if arguments.vararg:
        parameters.append("*" + arguments.vararg.arg)
    elif arguments.kwonlyargs:
        parameters.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(argument.arg + ("" if default is None else "="))
    if arguments.kwarg:
        parameters.append("**" + arguments.kwarg.arg)
    facts: dict[str, Any] = {"parameters": parameters}
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    for name in ("property", "classmethod", "staticmethod", "abstractmethod"):
        if any(decorator.rpartition(".")[2] == name for decorator in decorators):
            facts[name] = True
    if isinstance(node, ast.AsyncFunctionDef):
        facts["async"] = "generator" if _yields(node) else "coroutine"
    return facts


def _yields(function: ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function))


def collect(version: str) -> dict[str, Any]:
    """Return the facts of one version."""
    wheel, members = read_wheel(version)
    with wheel:

        def load(name: str) -> Module | None:
            path = name.replace(".", "/")
            for candidate in (f"{path}.py", f"{path}/__init__.py"):
                if candidate in members:
                    return Module(wheel.read(candidate).decode())
            return None

        modules: dict[str, Any] = {}
        for name, classes in CLASSES.items():
            module = load(name)
            if module is not None:
                modules[name] = _describe_module(module, classes)
        for name, functions in FUNCTIONS.items():
            module = load(name)
            if module is not None:
                found = {
                    function: describe_function(module.functions[function])
                    for function in functions
                    if function in module.functions
                }
                default = module.default_of_variable("VLLM_USE_V1")
                modules[name] = {"functions": found, "VLLM_USE_V1": default}
        package = load("vllm")
        if package is not None:
            modules["vllm"] = {"exports": [name for name in PACKAGE_NAMES if package.exports(name)]}
    return {"version": version, "modules": modules}


def _describe_module(module: Module, classes: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"classes": {}, "aliases": {}}
    for name, methods in classes.items():
        if name in module.classes:
            facts["classes"][name] = describe_class(module.classes[name], methods)
        elif name in module.aliases:
            facts["aliases"][name] = module.origin(module.aliases[name])
        elif name in module.names:
            facts["aliases"][name] = module.origin(name)
    # Names in annotations that exist when the module runs: others break typing.get_type_hints.
    used = {
        node.id
        for described in facts["classes"].values()
        for annotation in (
            *(annotation for annotation, _ in described.get("fields", {}).values()),
            *described.get("arguments", {}).values(),
        )
        for node in ast.walk(ast.parse(annotation))
        if isinstance(node, ast.Name)
    }
    facts["names"] = sorted(used & module.names)
    return {key: value for key, value in facts.items() if value}


def dump(facts: Mapping[str, Any]) -> str:
    """Return the facts as JSON with one line for each class."""
    lines = []
    for name, module in facts["modules"].items():
        parts = []
        for part, value in module.items():
            if part == "classes":
                rows = [f"   {json.dumps(key)}: {json.dumps(row)}" for key, row in value.items()]
                parts.append('  "classes": {\n' + ",\n".join(rows) + "\n  }")
            else:
                parts.append(f"  {json.dumps(part)}: {json.dumps(value)}")
        lines.append(f" {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n }")
    version = json.dumps(facts["version"])
    return f'{{"version": {version}, "modules": {{\n' + ",\n".join(lines) + "\n}}\n"


def main() -> None:
    """Write the facts of the versions that the command line names, or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    for version in parser.parse_args().versions:
        path = FOLDER / f"{version}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dump(collect(version)), encoding="utf-8")
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
