"""A wheel out of a source archive: the same bytes each time, installable, and nothing else in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from tritonbuild.errors import DownloadFailed
from tritonbuild.repacking import repack
from tritonbuild.schema import Sdist, Wheel

FILES = {
    "some-thing-1.1/PKG-INFO": "Metadata-Version: 1.1\nName: some-thing\nVersion: 1.1\n",
    "some-thing-1.1/setup.py": "raise SystemExit('nobody runs this')\n",
    "some-thing-1.1/thing/__init__.py": "ANSWER = 42\n",
    "some-thing-1.1/thing/inner/part.py": "",
    "some-thing-1.1/other.py": "import thing\n",
    "some-thing-1.1/things/__init__.py": "",
    "some-thing-1.1/thing/../../outside.py": "",
}


def _wheel(*modules: str) -> Wheel:
    url = "https://files.example/some-thing-1.1.tar.gz"
    return Wheel(
        requirement="some-thing==1.1",
        sdist=Sdist(url=url, sha256="0" * 64, modules=modules),
        sha256="0" * 64,
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return _write_archive(tmp_path / "some-thing-1.1.tar.gz", list(FILES))


def _write_archive(file: Path, names: list[str], time: int = 1) -> Path:
    with gzip.GzipFile(file, "wb", mtime=time) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            content = FILES[name].encode()
            entry.size, entry.mtime, entry.mode = len(content), time, 0o600 + time % 8
            tar.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("some-thing-1.1/thing/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return file


def test_it_holds_the_named_modules_and_no_more(archive: Path, tmp_path: Path) -> None:
    repack(archive, _wheel("thing", "other"), tmp_path / "a.whl")
    with zipfile.ZipFile(tmp_path / "a.whl") as wheel:
        assert wheel.namelist() == [
            "other.py",
            "some_thing-1.1.dist-info/METADATA",
            "some_thing-1.1.dist-info/RECORD",
            "some_thing-1.1.dist-info/WHEEL",
            "thing/__init__.py",
            "thing/inner/part.py",
        ]
        assert wheel.read("some_thing-1.1.dist-info/METADATA").decode() == FILES["some-thing-1.1/PKG-INFO"]
        record = wheel.read("some_thing-1.1.dist-info/RECORD").decode().splitlines()
    assert [line.split(",")[0] for line in record if not line.endswith(",,")] == [
        "other.py",
        "some_thing-1.1.dist-info/METADATA",
        "some_thing-1.1.dist-info/WHEEL",
        "thing/__init__.py",
        "thing/inner/part.py",
    ]
    assert record[-1] == "some_thing-1.1.dist-info/RECORD,,"


def test_it_can_be_imported(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repack(archive, _wheel("thing"), tmp_path / "a.whl")
    monkeypatch.syspath_prepend(str(tmp_path / "a.whl"))
    assert __import__("thing").ANSWER == 42


def test_it_is_the_same_bytes_whenever_it_is_made(tmp_path: Path) -> None:
    digests = set()
    for time, names in ((1, list(FILES)), (1_700_000_003, list(reversed(FILES)))):
        folder = tmp_path / str(time)
        folder.mkdir()
        archive = _write_archive(folder / "some-thing-1.1.tar.gz", names, time)
        repack(archive, _wheel("thing"), folder / "a.whl")
        digests.add(hashlib.sha256((folder / "a.whl").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_its_name_is_that_of_a_wheel_for_every_python() -> None:
    name, version, _, tags = parse_wheel_filename(_wheel("thing").filename)
    assert (name, str(version), {str(tag) for tag in tags}) == ("some-thing", "1.1", {"py3-none-any"})


def test_a_module_that_is_not_in_the_archive_is_named(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"some-thing-1\.1\.tar\.gz holds no thin$") as failure:
        repack(archive, _wheel("thin"), tmp_path / "a.whl")
    assert "`modules` of some-thing==1.1" in str(failure.value.hint)
    assert not (tmp_path / "a.whl").exists()
