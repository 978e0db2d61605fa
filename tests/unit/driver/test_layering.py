"""Who may import whom. The table is the design; a module that is not in it fails the test."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritonbuild.paths import ROOT

PACKAGE = ROOT / "tritonbuild"
VERBS = PACKAGE / "cli" / "verbs"

# Lowest first. A module may import from its own layer and from those above it in this list.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "bootstrap", "errors", "paths", "files", "importing", "holding", "yamledit"),
    ("identifiers",),
    ("shapes",),
    ("schema",),
    ("matrix", "toolchain", "compileplan", "compiling"),
    ("spec", "contradictions"),
    ("loading",),
    (
        *("exported", "debian", "trees"),
        *("tags", "labels", "features", "records", "findings", "layers", "sources"),
        *("oci", "provenance", "signing"),
    ),
    ("process", "wheeltags", "charts"),
    ("console", "turns"),
    ("variation",),
    (
        *("engine", "repacking", "wheels", "secrets", "locking", "rendering", "context", "buildkit"),
        *("host", "images", "inspecting", "references", "smoke", "revision", "reaching", "leftovers"),
        *("compressing", "bundling", "indexes", "resolving", "verifying", "baking"),
        *("auditing", "registry", "registrysession", "promoting", "sbom", "evidence", "trust"),
    ),
    ("preparing",),
    ("pipeline", "elsewhere", "comparing", "doctor", "imagediff"),
    ("summary", "batch", "proving", "candidates", "reproducing", "reporting"),
    ("overview", "releasing"),
    ("updates.policy",),
    ("updates.packages", "updates.releases", "updates.digests", "updates"),
    ("cli.values",),
    ("cli.flags", "cli.upstream"),
    ("cli.compile_flags",),
    ("cli.build_flags", "cli.choosing"),
    tuple(f"cli.verbs.{path.stem}" for path in VERBS.glob("[!_]*.py")),
    ("cli.verbs",),
    ("cli.parsing",),
    ("cli",),
)
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
# What is pure must stay so: no programs, no network, no engine.
PURE = [module for layer in LAYERS[:8] for module in layer if module != "bootstrap"]


def _module(path: Path) -> str:
    """Return the dotted name within the package; that of a folder stands for its ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, wherever in the file it does so."""
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_imports(module: str) -> set[str]:
    own = {name.removeprefix("tritonbuild.") for name in _imports(FILES[module])}
    return own & set(FILES) - {module}


def test_every_module_has_its_place_in_the_table() -> None:
    assert set(FILES) == set(LEVEL)


@pytest.mark.parametrize("module", sorted(LEVEL))
def test_a_module_imports_from_its_own_layer_or_a_lower_one(module: str) -> None:
    too_high = {name for name in _own_imports(module) if LEVEL[name] > LEVEL[module]}
    assert not too_high


def test_there_are_no_cycles() -> None:
    graph = {module: _own_imports(module) for module in LEVEL}

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        for name in graph[module]:
            visit(name, (*path, module))

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", PURE)
def test_the_lower_layers_reach_no_program_engine_or_network(module: str) -> None:
    reached = {name.split(".")[0] for name in _imports(FILES[module])}
    assert not reached & {"subprocess", "socket", "docker", "requests", "urllib", "rich"}


def test_only_the_console_prints() -> None:
    for module in set(LEVEL) - {"bootstrap"}:
        calls = [n.func for n in _nodes(FILES[module]) if isinstance(n, ast.Call)]
        assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "print"], module


def test_only_the_entry_points_end_the_process() -> None:
    for module in set(LEVEL) - {"bootstrap"}:
        text = FILES[module].read_text(encoding="utf-8")
        assert "sys.exit" not in text, module
        assert "os._exit" not in text, module


def test_no_program_is_started_through_a_shell() -> None:
    for module in LEVEL:
        for call in (n for n in _nodes(FILES[module]) if isinstance(n, ast.Call)):
            assert "shell" not in {keyword.arg for keyword in call.keywords}, module
            assert ast.unparse(call.func) not in ("os.system", "os.popen"), module


def test_the_bootstrap_needs_the_standard_library_only() -> None:
    """It runs before anything is installed."""
    foreign = {name.split(".")[0] for name in _imports(FILES["bootstrap"])} - set(sys.stdlib_module_names)
    assert foreign <= {"__future__"}
    assert list(_imports(FILES["__init__"])) == []


def test_build_py_imports_the_driver_only_after_the_bootstrap() -> None:
    tree = ast.parse((ROOT / "build.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in top] == [
        "import sys",
        "from tritonbuild.bootstrap import ensure_environment",
    ]
    assert len((ROOT / "build.py").read_text(encoding="utf-8").splitlines()) <= 15


def test_modules_stay_small_enough_to_read_in_one_go() -> None:
    for module in LEVEL:
        lines = FILES[module].read_text(encoding="utf-8").count("\n")
        assert lines <= 300, f"{module} has {lines} lines: split it"
