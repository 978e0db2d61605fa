"""The smoke tests' runner: what it starts, what it believes, when it need not start at all."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import smoke
from tritonbuild.errors import CommandFailed, SmokeFailed
from tritonbuild.smoke import SmokeResult, is_proven, read_result, run_smoke
from tritonbuild.smoke import tests_fingerprint as fingerprint
from tritonbuild.spec import BuildSpec

PASSED = '<testcase name="test_ready"/><testcase name="test_text"/>'
SKIPPED = '<testcase name="test_gpu"><skipped message="no GPU here"/></testcase>'
FAILED = '<testcase name="test_stop"><failure message="slow"/></testcase>'
ERROR = '<testcase name="test_stop"><error message="no container"/></testcase>'


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, cpu: BuildSpec, step: Any, tmp_path: Path
) -> Callable[..., tuple[SmokeResult, list[str]]]:
    """A function that runs the smoke tests with a pytest that reports the given cases."""

    def start(cases: str | None, *, fails: bool = False) -> tuple[SmokeResult, list[str]]:
        started: list[str] = []

        def fake(argv: Sequence[str], *, on_line: Callable[[str], None], **_: object) -> str:
            started.extend(argv)
            on_line("tests/image/test_server.py::test_ready PASSED   [ 50%]")
            on_line("some other line")
            if cases is not None:
                report = f"<testsuites><testsuite>{cases}</testsuite></testsuites>"
                (tmp_path / "smoke.xml").write_text(report, encoding="utf-8")
            if fails:
                message = "pytest ended with code 1"
                raise CommandFailed(message, tail=["E  the reason"])
            return ""

        monkeypatch.setattr(smoke, "run", fake)
        return run_smoke(cpu, "x:1", "sha256:1", tmp_path, step), started

    return start


def test_all_passed(run: Callable[..., Any], step: Any) -> None:
    result, _ = run(PASSED + SKIPPED)
    assert (result.passed, result.failed, result.skipped) == (2, 0, ("test_gpu: no GPU here",))
    assert result.image_id == "sha256:1"
    assert result.tests_sha256 == fingerprint()
    assert "passed test_server.py::test_ready" in step.text


def test_the_image_and_its_row_are_named_to_the_tests(run: Callable[..., Any]) -> None:
    _, argv = run(PASSED)
    assert argv[:3] == [sys.executable, "-m", "pytest"]
    assert argv[argv.index("--image") + 1] == "x:1"
    assert argv[argv.index("--row") + 1] == "24.08-cpu-pypi"


def test_the_tests_are_told_where_the_recipe_of_another_vllm_lies(
    monkeypatch: pytest.MonkeyPatch, cpu: BuildSpec, step: Any, tmp_path: Path
) -> None:
    started: list[str] = []

    def fake(argv: Sequence[str], **_: object) -> str:
        started.extend(argv)
        message = "pytest ended with code 1"
        (tmp_path / "smoke.xml").write_text(f"<testsuite>{FAILED}</testsuite>", encoding="utf-8")
        raise CommandFailed(message)

    monkeypatch.setattr(smoke, "run", fake)
    other = dataclasses.replace(cpu, unverified=("vLLM",), own_folder=tmp_path / "recipe")
    with pytest.raises(SmokeFailed) as failure:
        run_smoke(other, "x:1", "sha256:1", tmp_path, step)
    assert started[-2:] == ["--recipe", str(tmp_path / "recipe")]
    assert f"./build.py smoke {cpu.row} --vllm-version {cpu.vllm}" in str(failure.value.hint)


def test_what_was_left_out_is_told_with_its_reason(run: Callable[..., Any]) -> None:
    told = '<properties><property name="left out" value="test_layers: no engine"/></properties>'
    result, _ = run(told + PASSED)
    assert result.left_out == ("test_layers: no engine",)
    assert read_result(result.as_record()) == result


def test_a_result_of_before_that_left_nothing_out() -> None:
    record = {"image_id": "sha256:1", "tests_sha256": "x", "passed": 1, "failed": 0, "skipped": ["a: b"]}
    assert read_result(record).left_out == ()


def test_a_bundle_is_named_to_the_tests_in_place_of_an_image(
    monkeypatch: pytest.MonkeyPatch, cpu: BuildSpec, step: Any, tmp_path: Path
) -> None:
    started: list[str] = []

    def fake(argv: Sequence[str], **_: object) -> str:
        started.extend(argv)
        (tmp_path / "smoke.xml").write_text(f"<testsuite>{PASSED}</testsuite>", encoding="utf-8")
        return ""

    monkeypatch.setattr(smoke, "run", fake)
    run_smoke(cpu, "folder", "sha256:1", tmp_path, step, place=("--bundle", "/folder"))
    assert started[started.index("--bundle") + 1] == "/folder"
    assert "--image" not in started


@pytest.mark.parametrize("case", [FAILED, ERROR])
def test_a_failed_test_fails_the_build_and_shows_why(
    run: Callable[..., Any], case: str, capsys: pytest.CaptureFixture[str], step: Any
) -> None:
    step.console.quiet = False
    with pytest.raises(SmokeFailed) as failure:
        run(PASSED + case, fails=True)
    assert failure.value.message == "24.08-cpu-pypi: 1 of 3 smoke tests failed on x:1"
    assert "./build.py smoke 24.08-cpu-pypi" in str(failure.value.hint)
    assert "E  the reason" in capsys.readouterr().err


def test_nothing_passed_is_no_success(run: Callable[..., Any]) -> None:
    with pytest.raises(SmokeFailed):
        run(SKIPPED)


def test_a_pytest_that_did_not_run_is_no_success(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "smoke.xml").write_text(
        f"<testsuites>{PASSED}</testsuites>", encoding="utf-8"
    )  # of the last run
    with pytest.raises(SmokeFailed, match="the smoke tests did not run"):
        run(None, fails=True)


def test_a_bad_end_is_no_success_whatever_the_report_says(run: Callable[..., Any]) -> None:
    with pytest.raises(SmokeFailed):
        run(PASSED, fails=True)


def _record(**changes: Any) -> dict[str, Any]:
    result = SmokeResult(image_id="sha256:1", tests_sha256=fingerprint(), passed=3, failed=0, skipped=())
    return {"smoke": {**result.as_record(), **changes}}


def test_the_same_tests_on_the_same_image_prove_it() -> None:
    assert is_proven(_record(), "sha256:1")


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"smoke": {}},
        _record(image_id="sha256:2"),
        _record(tests_sha256="other tests"),
        _record(failed=1),
        _record(passed=0),
    ],
)
def test_anything_else_does_not(record: dict[str, Any]) -> None:
    assert not is_proven(record, "sha256:1")


def test_changed_tests_have_another_fingerprint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ROOT", "IMAGE_TESTS"):
        monkeypatch.setattr(smoke, name, tmp_path)
    before = fingerprint()
    (tmp_path / "test_new.py").touch()
    assert fingerprint() != before
