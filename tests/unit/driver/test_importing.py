"""What decides the smoke tests: found by reading imports, and compared with what Python really imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonbuild.importing import find_files_behind
from tritonbuild.paths import IMAGE_TESTS, ROOT

DRIVER = frozenset({"tritonbuild"})


@contextmanager
def nothing_of_ours_imported() -> Iterator[None]:
    """Hide the modules that this checkout's tests and benchmarks have loaded, and restore them afterwards."""

    def loaded() -> dict[str, object]:
        return {
            name: m for name, m in sys.modules.items() if name.partition(".")[0] in ("tests", "benchmarks")
        }

    before = loaded()
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(before)  # type: ignore[arg-type]


def test_all_that_python_imports_for_the_smoke_tests_is_found() -> None:
    with nothing_of_ours_imported():
        before = set(sys.modules)
        importlib.import_module("tests.conftest")
        for path in IMAGE_TESTS.rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        new = [module for name, module in sys.modules.items() if name not in before]
    files = {Path(file) for module in new if (file := getattr(module, "__file__", None))}
    folders = (ROOT / "tests", ROOT / "benchmarks")
    ours = {path for path in files if any(path.is_relative_to(folder) for folder in folders)}
    assert ROOT / "tests" / "tinymodel.py" in ours
    assert ours <= set(find_files_behind(IMAGE_TESTS, ROOT, without=DRIVER))


def test_no_more_is_found_than_the_smoke_tests_need() -> None:
    """Or every change of any test would make them run again."""
    found = {path.relative_to(ROOT) for path in find_files_behind(IMAGE_TESTS, ROOT, without=DRIVER)}
    beside = {path.parts[:2] for path in found}
    assert not beside & {("tests", name) for name in ("unit", "daemon", "release", "conformance", "soak")}
    assert not [path for path in found if path.parts[0] == "tritonbuild"]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_imports_are_followed_in_every_form(tmp_path: Path) -> None:
    files = {
        "conftest.py": "import lone",
        "lone.py": "",
        "tests/__init__.py": "",
        "tests/conftest.py": "from tests import whole",
        "tests/whole.py": "def late():\n    import far.away",
        "far/__init__.py": "from far.inner import name",
        "far/away.py": "",
        "far/inner.py": "name = 1",
        "tests/image/data.json": "{}",
        "tests/image/test_a.py": "import json, requests",
        "driver/__init__.py": "",
        "driver/part.py": "",
        "tests/image/test_b.py": "from driver.part import x",
    }
    others = {"tests/other.py": "", "tests/unit/conftest.py": "", "far/unused.py": "", "driver/more.py": ""}
    write(tmp_path, {**files, **others})
    found = find_files_behind(tmp_path / "tests/image", tmp_path)
    assert found == sorted(tmp_path / name for name in files)
    without = find_files_behind(tmp_path / "tests/image", tmp_path, without=frozenset({"driver"}))
    assert set(found) - set(without) == {tmp_path / "driver/__init__.py", tmp_path / "driver/part.py"}
