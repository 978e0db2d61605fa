from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tritonbuild.files import sha256_file, sha256_files, write_atomic, write_if_different


def test_write_atomic_makes_folders_and_sets_the_mode(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_atomic(file, "é\n", mode=0o600)
    assert file.read_text(encoding="utf-8") == "é\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_write_atomic_keeps_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old", encoding="utf-8")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_write_if_different_leaves_an_equal_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    assert write_if_different(file, "one")
    os.utime(file, ns=(1, 1))
    assert not write_if_different(file, "one")
    assert file.stat().st_mtime_ns == 1
    assert write_if_different(file, "two")
    assert file.read_text(encoding="utf-8") == "two"


def test_sha256_file_is_the_sum_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc" * 700_000)
    assert sha256_file(file) == hashlib.sha256(b"abc" * 700_000).hexdigest()


def test_sha256_files_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a.py"
    file.write_text("1", encoding="utf-8")
    before = sha256_files(tmp_path, [file])
    renamed = file.rename(tmp_path / "a.py")
    assert sha256_files(tmp_path, [renamed]) != before
    renamed.rename(file).write_text("2", encoding="utf-8")
    assert sha256_files(tmp_path, [file]) != before
    file.write_text("1", encoding="utf-8")
    assert sha256_files(tmp_path, [file]) == before
