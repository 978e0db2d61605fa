"""Bundles: what is written, what a start script is told, what is refused."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from tritonbuild.bundling import read_bundle, resolve_user, settings_text, write_bundle
from tritonbuild.elsewhere import smoke_bundle
from tritonbuild.engine import ContainerFiles
from tritonbuild.errors import BundleFailed, UsageError
from tritonbuild.files import sha256_file
from tritonbuild.spec import BuildSpec

PASSWD = "root:x:0:0:root:/root:/bin/bash\ntriton-server:x:1000:1000::/home/triton-server:/bin/bash\n"
GROUP = "root:x:0:\nvideo:x:44:\ntriton-server:x:1000:\n"
CONFIG: dict[str, Any] = {
    "Env": ["PATH=/opt/tritonserver/bin:/bin", "WORDS=it's two"],
    "Entrypoint": ["/usr/bin/tini", "--"],
    "Cmd": ["tritonserver", "--model-repository=/my models"],
    "User": "triton-server",
    "WorkingDir": "/opt/tritonserver",
    "ExposedPorts": {"8000/tcp": {}},
    "Labels": {"io.tritonbuild.row": "24.08-cpu-pypi"},
    "Hostname": "of no interest",
}
IMAGE: Any = SimpleNamespace(
    id="sha256:1",
    attrs={
        "Config": CONFIG,
        "Size": 5_000_000,
        "Created": "2026-01-01T00:00:00Z",
        "RepoDigests": ["x@sha256:2"],
    },
)
CONTENT = b"a tar archive" * 1000


def files(chunks: Iterator[bytes] | None = None) -> ContainerFiles:
    return ContainerFiles(chunks=chunks or iter([CONTENT[:99], CONTENT[99:]]), passwd=PASSWD, group=GROUP)


@pytest.fixture
def write(step: Any, tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a bundle and returns its folder."""

    def write(compression: str = "gzip", chunks: Iterator[bytes] | None = None) -> Path:
        output = tmp_path / "out" / "bundle"
        write_bundle(
            IMAGE, files(chunks), output, step, row="24.08-cpu-pypi", reference="x:1", compression=compression
        )
        return output

    return write


@pytest.mark.parametrize(
    ("compression", "name", "unpack"),
    [
        ("gzip", "rootfs.tar.gz", gzip.decompress),
        ("zstd", "rootfs.tar.zst", lambda data: zstandard.ZstdDecompressor().stream_reader(data).read()),
        ("none", "rootfs.tar", bytes),
    ],
)
def test_the_archive_holds_what_the_engine_exported(
    write: Callable[..., Path], compression: str, name: str, unpack: Callable[[bytes], bytes]
) -> None:
    folder = write(compression)
    assert unpack((folder / name).read_bytes()) == CONTENT
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["archive"]["file"] == name
    assert manifest["archive"]["sha256"] == sha256_file(folder / name)


def test_the_manifest_names_row_image_and_settings(write: Callable[..., Path]) -> None:
    folder = write()
    manifest = json.loads((folder / "bundle.json").read_text())
    assert (manifest["row"], manifest["image"], manifest["image_id"]) == ("24.08-cpu-pypi", "x:1", "sha256:1")
    assert manifest["digests"] == ["x@sha256:2"]
    assert manifest["user"] == "1000:1000"
    assert manifest["config"]["Cmd"] == CONFIG["Cmd"]
    assert "Hostname" not in manifest["config"]
    assert (folder / "start.sh").stat().st_mode & 0o111 == 0o111
    assert read_bundle(folder).image_id == "sha256:1"


def test_the_start_script_is_told_words_as_they_are(write: Callable[..., Path]) -> None:
    text = (write() / "settings.sh").read_text()
    values = dict(word.split("=", 1) for word in shlex.split(text))
    assert shlex.split(values["environment"]) == CONFIG["Env"]
    assert shlex.split(values["command"]) == CONFIG["Cmd"]
    assert values["image_path"] == "/opt/tritonserver/bin:/bin"
    assert (values["user"], values["workdir"]) == ("1000:1000", "/opt/tritonserver")


def test_an_image_without_command_and_folder_has_settings_too() -> None:
    empty = {"Env": None, "Entrypoint": None, "Cmd": None, "WorkingDir": ""}
    manifest = {"archive": {"file": "a", "sha256": "b"}, "size": 1, "user": "0:0", "config": empty}
    values = dict(word.split("=", 1) for word in shlex.split(settings_text(manifest)))
    assert (values["workdir"], values["command"], values["environment"]) == ("/", "", "")


def test_a_newer_bundle_takes_the_place_of_an_older_one(write: Callable[..., Path]) -> None:
    first = write("none")
    assert write("gzip") == first
    assert sorted(path.name for path in first.iterdir()) == [
        "bundle.json",
        "rootfs.tar.gz",
        "settings.sh",
        "start.sh",
    ]
    assert [path.name for path in first.parent.iterdir()] == ["bundle"]


def test_another_folder_is_not_touched(write: Callable[..., Path], tmp_path: Path) -> None:
    mine = tmp_path / "out" / "bundle" / "mine"
    mine.mkdir(parents=True)
    with pytest.raises(UsageError, match="is there, and no bundle"):
        write()
    assert mine.is_dir()


def test_a_failed_export_leaves_the_older_bundle_and_nothing_else(write: Callable[..., Path]) -> None:
    folder = write()
    before = (folder / "bundle.json").read_text()

    def break_off() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleFailed, match="No space left on device") as failure:
        write("none", break_off())
    assert "5 MB" in str(failure.value.hint)
    assert (folder / "bundle.json").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_an_export_of_nothing_is_no_bundle(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(BundleFailed, match="exported no files"):
        write("none", iter([b""]))
    assert not (tmp_path / "out" / "bundle").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("triton-server", "1000:1000"),
        ("", "0:0"),
        ("1000", "1000:1000"),
        ("12345", "12345:0"),
        ("triton-server:video", "1000:44"),
        ("12345:7", "12345:7"),
    ],
)
def test_a_user_is_looked_up_in_the_images_own_files(name: str, expected: str) -> None:
    assert resolve_user(name, PASSWD, GROUP) == expected


def test_an_unknown_user_is_an_error() -> None:
    with pytest.raises(BundleFailed, match="'nobody-knows'"):
        resolve_user("nobody-knows", PASSWD, GROUP)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleFailed, match="is no bundle"):
        read_bundle(tmp_path)


def test_a_bundle_without_its_start_script_is_refused(write: Callable[..., Path]) -> None:
    folder = write()
    (folder / "start.sh").unlink()
    with pytest.raises(BundleFailed, match=r"lacks start\.sh"):
        read_bundle(folder)


def test_the_bundle_of_another_row_is_not_smoke_tested(
    write: Callable[..., Path], cuda: BuildSpec, step: Any, tmp_path: Path
) -> None:
    with pytest.raises(BundleFailed, match=r"holds an image of 24\.08-cpu-pypi, not of 24\.08-cuda-pypi"):
        smoke_bundle(cuda, write(), tmp_path, step.console)
