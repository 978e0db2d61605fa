"""Root can put another vLLM into a container with pip."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator

import pytest

from tests.image.places import Place, Starter
from tests.image.serving import check_output, execute
from tritonbuild.spec import BuildSpec

OTHER = "99.0"


@pytest.fixture
def throwaway(start: Starter) -> Iterator[Place]:
    """A container whose packages a test may replace."""
    with start(["sleep", "infinity"]) as container:
        yield container


def make_wheel(package: str, module: str, version: str) -> tuple[str, bytes]:
    """Return the file name and content of a wheel that holds one empty-handed module."""
    stem = f"{package.replace('-', '_')}-{version}"
    files = {
        f"{module}/__init__.py": f'__version__ = "{version}"\n',
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{stem}.dist-info/RECORD"])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in {**files, f"{stem}.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return f"{stem}-py3-none-any.whl", content.getvalue()


def put_file(container: Place, folder: str, name: str, content: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    assert container.put_archive(folder, buffer.getvalue())


def test_pip_replaces_vllm_in_place(throwaway: Place, spec: BuildSpec) -> None:
    name, content = make_wheel(spec.vllm_package, "vllm", OTHER)
    put_file(throwaway, "/tmp", name, content)
    # Offline, so that only pip itself is tested: is it there, may it write, can it uninstall?
    command = ["pip", "install", "--no-index", "--no-deps", "--no-cache-dir", f"/tmp/{name}"]
    printed = check_output(throwaway, command, user="0")
    assert f"Successfully uninstalled {spec.vllm_package.replace('_', '-')}-{spec.vllm}" in printed
    assert check_output(throwaway, ["python3", "-c", "import vllm; print(vllm.__version__)"]).strip() == OTHER


def test_pip_accepts_what_is_installed(box: Place, spec: BuildSpec) -> None:
    requirement = f"{spec.vllm_package}=={spec.vllm}"
    command = ["pip", "install", "--no-index", "--no-deps", "--dry-run", "--no-cache-dir", requirement]
    assert "already satisfied" in check_output(box, command, user="0")


def test_python_is_not_externally_managed(box: Place) -> None:
    assert check_output(box, ["sh", "-c", "find / -xdev -name EXTERNALLY-MANAGED 2>/dev/null || true"]) == ""


def test_user_of_the_image_cannot_change_packages(box: Place, spec: BuildSpec) -> None:
    assert execute(box, ["touch", f"{spec.site_packages}/x"]).code != 0
