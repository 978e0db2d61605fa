"""The scripts that run inside an image while it is built, run here on folders that stand in for images."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tritonbuild.paths import IMAGE_FILES

PINNED = "0.17.1+fb2e3ab6.nv26.3.46332470.cu132"


def check_vllm(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> str | None:
    """Run the script in a base image with these packages; return what it ended with."""

    def version(package: str) -> str:
        if package not in installed:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(sys, "argv", ["check_vllm.py", PINNED])
    try:
        runpy.run_path(str(IMAGE_FILES / "check_vllm.py"), run_name="__main__")
    except SystemExit as end:
        return str(end.code)
    return None


def test_the_pinned_vllm_in_a_base_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {"numpy": "2.2.6", "protobuf": "6.33.5"}
    assert check_vllm(monkeypatch, {"vllm": PINNED, **packages}) is None
    assert check_vllm(monkeypatch, {"vllm": PINNED.upper(), **packages}) is None


@pytest.mark.parametrize("found", ["0.17.1", "0.17.1+fb2e3ab6.nv26.4.46332470.cu132", "0.17.0+fb2e3ab6"])
def test_another_vllm_is_named_beside_the_pinned_one(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    said = check_vllm(monkeypatch, {"vllm": found, "numpy": "2", "protobuf": "6"})
    assert said == f"error: the base image has vLLM {found}, versions.yaml pins {PINNED}"


def test_a_base_without_vllm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = check_vllm(monkeypatch, {"numpy": "2", "protobuf": "6"})
    assert said == f"error: the base image has no vLLM, versions.yaml pins {PINNED}"


def test_a_base_that_lacks_what_the_client_takes_from_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said = check_vllm(monkeypatch, {"vllm": PINNED})
    assert said == f"error: the base image has vLLM {PINNED}, but no numpy and no protobuf"


# --- the server out of an image ------------------------------------------------------------


@pytest.fixture
def collect() -> ModuleType:
    spec = importlib.util.spec_from_file_location("collect_server", IMAGE_FILES / "collect_server.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class VendorImage:
    """A server image as a folder, and ldd as it would answer while the libraries come in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree, self.libraries = root.parent / "tree", root.parent / "libraries"
        for name in ("bin/tritonserver", "lib/libtritonserver.so", "backends/python/libtriton_python.so"):
            self.put(f"opt/tritonserver/{name}", b"\x7fELF")
        for decoy in ("backends/onnxruntime/x.so", "include/x.h", "third-party-src/src.tar.gz", "bin/simple"):
            self.put(f"opt/tritonserver/{decoy}", b"decoy")
        self.put("opt/tritonserver/LICENSE", b"licence")
        self.needs: list[str] = []

    def put(self, name: str, content: bytes = b"\x7fELF library") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def link(self, name: str, target: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def find_missing(self, tree: Path, libraries: Path) -> list[str]:
        return [name for name in self.needs if not (libraries / name).exists()]


@pytest.fixture
def vendor(tmp_path: Path, collect: ModuleType, monkeypatch: pytest.MonkeyPatch) -> VendorImage:
    image = VendorImage(tmp_path / "image")
    monkeypatch.setattr(collect, "find_missing", image.find_missing)
    monkeypatch.setattr(collect.subprocess, "run", lambda *_, **__: None)  # chmod
    return image


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_only_the_server_and_its_python_backend_are_taken(collect: ModuleType, vendor: VendorImage) -> None:
    collect.main(vendor.root, vendor.tree, vendor.libraries)
    assert files(vendor.tree) == {
        "bin/tritonserver",
        "lib/libtritonserver.so",
        "backends/python/libtriton_python.so",
        "LICENSE",
    }
    assert files(vendor.libraries) == set()


def test_dcgm_comes_with_its_modules_which_no_program_lists(collect: ModuleType, vendor: VendorImage) -> None:
    vendor.put("usr/lib/x86_64-linux-gnu/libdcgm.so.3.3.6")
    vendor.link("usr/lib/x86_64-linux-gnu/libdcgm.so.3", "libdcgm.so.3.3.6")
    vendor.put("usr/lib/x86_64-linux-gnu/libdcgmmodulehealth.so.3.3.6")
    collect.main(vendor.root, vendor.tree, vendor.libraries)
    assert files(vendor.libraries) == {
        "libdcgm.so.3",
        "libdcgm.so.3.3.6",
        "libdcgmmodulehealth.so.3.3.6",
    }
    assert (vendor.libraries / "libdcgm.so.3").is_symlink()


def test_libraries_that_the_base_lacks_are_found_through_links_of_the_image(
    collect: ModuleType, vendor: VendorImage
) -> None:
    vendor.needs = ["libre2.so.9", "libcudart.so.12"]
    vendor.put("usr/lib/x86_64-linux-gnu/libre2.so.9.0.0", b"re2")
    vendor.link("usr/lib/x86_64-linux-gnu/libre2.so.9", "libre2.so.9.0.0")
    vendor.put("opt/cuda/libcudart.so.12.6.37", b"cudart")
    vendor.link("usr/local/cuda/lib64/libcudart.so.12", "/opt/cuda/libcudart.so.12.6.37")
    collect.main(vendor.root, vendor.tree, vendor.libraries)
    assert (vendor.libraries / "libre2.so.9").read_bytes() == b"re2"
    assert (vendor.libraries / "libcudart.so.12").read_bytes() == b"cudart"


def test_a_library_that_nobody_has_ends_with_its_name(collect: ModuleType, vendor: VendorImage) -> None:
    vendor.needs = ["libnowhere.so.1"]
    with pytest.raises(SystemExit, match=r"error: the server needs libnowhere\.so\.1, which neither"):
        collect.main(vendor.root, vendor.tree, vendor.libraries)


def test_an_image_without_a_server_is_told(collect: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    with pytest.raises(SystemExit, match="error: the server image has no /opt/tritonserver/bin/tritonserver"):
        collect.main(tmp_path / "image", tmp_path / "tree", tmp_path / "libraries")


def test_what_the_driver_brings_is_not_missing(
    collect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "tree" / "bin" / "tritonserver"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF")
    printed = """\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibcuda.so.1 => not found
\tlibnvidia-ml.so.1 => not found
\tlibre2.so.9 => not found
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
"""
    asked: list[Any] = []

    def ldd(argv: list[str], **options: Any) -> Any:
        asked.append((argv, options["env"]["LD_LIBRARY_PATH"]))
        return type("Done", (), {"stdout": printed})

    monkeypatch.setattr(collect.subprocess, "run", ldd)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/compat/lib")
    found = collect.find_missing(tmp_path / "tree", tmp_path / "libraries")
    assert found == ["libre2.so.9"]
    folders = [str(tmp_path / "tree/lib"), str(tmp_path / "libraries"), "/usr/local/cuda/compat/lib"]
    assert asked == [(["ldd", str(program)], ":".join(folders))]
