from __future__ import annotations

from pathlib import Path

import pytest

from tritonbuild.identifiers import BuildId
from tritonbuild.paths import BUILD
from tritonbuild.records import read_record, row_folder, update_record


def test_each_row_has_a_folder_of_its_own(tmp_path: Path) -> None:
    row = BuildId("24.08", "cpu", "pypi")
    assert row_folder(row) == BUILD / "24.08-cpu-pypi"
    assert row_folder(row, tmp_path) == tmp_path / "24.08-cpu-pypi"


def test_facts_add_up(tmp_path: Path) -> None:
    update_record(tmp_path, image_id="sha256:1", size=7)
    update_record(tmp_path, size=8)
    assert read_record(tmp_path) == {"image_id": "sha256:1", "size": 8}


def test_a_row_that_was_never_built_has_an_empty_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "nothing") == {}


@pytest.mark.parametrize("content", [b"", b'{"size": 1', b"[1, 2]", b"null", b"\xff\xfe\x00{"])
def test_an_unreadable_record_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path) == {}
    update_record(tmp_path, size=1)
    assert read_record(tmp_path) == {"size": 1}


def test_an_interrupted_update_keeps_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "row"
    update_record(folder, size=1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update_record(folder, size=2)
    assert read_record(folder) == {"size": 1}
    assert [p.name for p in folder.iterdir()] == ["record.json"]
