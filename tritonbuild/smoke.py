"""Runs tests/image against a built image, in a pytest of its own."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tritonbuild.console import Console, Step
from tritonbuild.errors import CommandFailed, SmokeFailed
from tritonbuild.files import sha256_files
from tritonbuild.importing import find_files_behind
from tritonbuild.paths import CONFORMANCE_TESTS, IMAGE_TESTS, ROOT, shown
from tritonbuild.process import run
from tritonbuild.spec import BuildSpec
from tritonbuild.turns import Turn

# Why a test of a cuda image is skipped where it cannot be proven.
NO_GPU = "no NVIDIA GPU on this host: text generation on the GPU is not proven"
_RESULT = re.compile(r"^(?P<test>\S+::\S+).* (?P<result>PASSED|FAILED|ERROR|SKIPPED)")


@dataclass(frozen=True, kw_only=True)
class SmokeResult:
    """How many tests passed, failed and were skipped, and why the latter."""

    image_id: str
    tests_sha256: str
    passed: int
    failed: int
    skipped: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Tests that make no sense where these ran, and why: `--bundle` and `--url` leave some out."""

    @property
    def counts(self) -> str:
        left_out = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"{self.passed} passed, {len(self.skipped)} skipped{left_out}"

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def read_result(record: Mapping[str, Any]) -> SmokeResult:
    """Return the result that ``as_record`` wrote."""
    lists = {name: tuple(record.get(name, ())) for name in ("skipped", "left_out")}
    return SmokeResult(**{**record, **lists})


def tests_fingerprint() -> str:
    """Return a hash of all that decides what the smoke tests find, but the driver.

    What the driver says of a row, the image says as well: where that changes it is another image.
    """
    return sha256_files(ROOT, find_files_behind(IMAGE_TESTS, ROOT, without=frozenset({"tritonbuild"})))


def is_proven(record: dict[str, Any], image_id: str) -> bool:
    """Tell whether the same tests already passed on the same image."""
    smoke = record.get("smoke", {})
    return bool(
        smoke
        and smoke["failed"] == 0
        and smoke["passed"] > 0
        and smoke["image_id"] == image_id
        and smoke["tests_sha256"] == tests_fingerprint()
    )


@contextmanager
def smoke_turn(spec: BuildSpec, jobs: int, console: Console) -> Iterator[None]:
    """Wait until fewer than ``jobs`` smoke tests run on this machine: they fight for its cores."""
    turn = Turn("smoke", places=jobs)
    if not turn.take():
        with console.step("wait", f"{spec.name}: wait for other smoke tests on this machine"):
            turn.wait(console.children.check)
    try:
        yield
    finally:
        turn.give_back()


def prove(
    spec: BuildSpec,
    image: str,
    image_id: str,
    folder: Path,
    console: Console,
    *,
    where: str = "",
    jobs: int = 1,
    conformance: bool = False,
    place: Sequence[str] = (),
) -> SmokeResult:
    """Run the smoke tests on an image as a stage of its own, when it is this row's turn; see ``run_smoke``."""
    with (
        smoke_turn(spec, jobs, console),
        console.step("smoke", f"{spec.name}: smoke tests" + (f" on {where}" if where else "")) as step,
    ):
        result = run_smoke(spec, image, image_id, folder, step, conformance=conformance, place=place)
        step.outcome = result.counts
    return result


def _read_left_out(path: Path) -> tuple[str, ...]:
    """Return the tests that were not even collected, with the reasons, as tests/conftest.py tells them."""
    properties = ET.parse(path).getroot().iter("property")  # noqa: S314  (our own pytest wrote it)
    return tuple(str(p.get("value")) for p in properties if p.get("name") == "left out")


def _read_junit(path: Path) -> tuple[int, int, tuple[str, ...]]:
    cases = list(ET.parse(path).getroot().iter("testcase"))  # noqa: S314  (our own pytest wrote it)
    failed = sum(1 for c in cases if c.find("failure") is not None or c.find("error") is not None)
    skipped = tuple(
        f"{c.get('name')}: {skip.get('message')}" for c in cases if (skip := c.find("skipped")) is not None
    )
    return len(cases) - failed - len(skipped), failed, skipped


def run_smoke(
    spec: BuildSpec,
    image: str,
    image_id: str,
    folder: Path,
    step: Step,
    *,
    conformance: bool = False,
    place: Sequence[str] = (),
) -> SmokeResult:
    """Run the image tests; raise SmokeFailed unless all that could run passed.

    ``place`` are the options that name what is tested, where that is no image of an engine. With ``conformance``
    also those that hold the backend to upstream's contract, which take longer.
    """
    report = folder / "smoke.xml"
    report.unlink(missing_ok=True)

    def follow(line: str) -> None:
        match = _RESULT.match(line)
        if match:
            step.milestone(f"{match['result'].lower()} {match['test'].rpartition('/')[2]}")
        else:
            step.note(line)

    log = step.console.log_file or folder / "build.log"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        str(IMAGE_TESTS),
        *([str(CONFORMANCE_TESTS)] if conformance else []),
        "-v",
        *(place or ("--image", image)),
        "--row",
        str(spec.row),
        f"--junitxml={report}",
        "-p",
        "no:cacheprovider",
    ]
    if spec.own_folder:
        argv += ["--recipe", str(spec.own_folder.resolve())]
    failure: CommandFailed | None = None
    try:
        run(argv, on_line=follow, cwd=ROOT, what="pytest", keep=40, children=step.children)
    except CommandFailed as error:
        failure = error
    if not report.is_file():
        message = f"{spec.name}: the smoke tests did not run"
        raise SmokeFailed(message, hint=f"see {shown(log)}") from failure
    passed, failed, skipped = _read_junit(report)
    if failure or failed or not passed:
        for line in failure.tail if failure else ():
            step.console.line(f"    {step.console.prefix}{line}")
        again = f"{spec.row} --vllm-version {spec.vllm}" if spec.unverified else str(spec.row)
        message = f"{spec.name}: {failed} of {passed + failed} smoke tests failed on {image}"
        raise SmokeFailed(message, hint=f"see {shown(log)}; again: ./build.py smoke {again}")
    return SmokeResult(
        image_id=image_id,
        tests_sha256=tests_fingerprint(),
        passed=passed,
        failed=failed,
        skipped=skipped,
        left_out=_read_left_out(report),
    )
