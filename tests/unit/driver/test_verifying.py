"""Locks that still hold and locks that do not, against a small index and a resolver of our own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from tritonbuild import cli, verifying
from tritonbuild.cli.verbs import lock as lock_verb
from tritonbuild.errors import CommandFailed, Unreachable
from tritonbuild.findings import Finding
from tritonbuild.indexes import IndexFile, PackageIndex
from tritonbuild.locking import Lock, lock_text
from tritonbuild.reaching import Answer
from tritonbuild.resolving import Pin, Request
from tritonbuild.schema import Wheel
from tritonbuild.spec import BuildSpec
from tritonbuild.verifying import (
    check_files,
    check_own_wheels,
    check_resolution,
    locked_files,
    read_pages,
    server_files,
)

OWN = Wheel(requirement="torch==2.0+cpu", url="https://torch.example/torch.whl", sha256="f" * 64)
REQUEST = Request(python="3.11", glibc="2.36", requirements=("a==1",))
A = Pin(name="a", version="1", hashes=("a" * 64,))
B = Pin(name="b", version="2", hashes=("b" * 64, "c" * 64))
TORCH = Pin(name="torch", version="2.0+cpu", hashes=(OWN.sha256,))


class SmallIndex:
    """A recorded index. `down` makes it unreachable from the given project on."""

    def __init__(self) -> None:
        self.projects = {
            "a": [IndexFile(filename="a-1-py3-none-any.whl", sha256="a" * 64)],
            "b": [
                IndexFile(filename="b-2-cp311-cp311-manylinux_2_28_x86_64.whl", sha256="b" * 64),
                IndexFile(filename="b-2-py3-none-any.whl", sha256="c" * 64),
            ],
        }
        self.down = False
        self.asked: list[str] = []

    def files(self, project: str) -> list[IndexFile]:
        self.asked.append(project)
        if self.down:
            message = "the index gave no answer"
            raise Unreachable(message)
        return self.projects.get(project, [])


@dataclasses.dataclass
class Bench:
    index: SmallIndex
    answer: list[Pin]
    groups: dict[Request, list[Lock]]
    yanked: list[str] = dataclasses.field(default_factory=list)

    def check(self, step: object) -> list[Finding]:
        wanted = locked_files(self.groups)
        pages = read_pages(wanted, cast("PackageIndex", self.index), step)  # type: ignore[arg-type]
        found = [*check_files(wanted, pages), *check_own_wheels(self.groups, [])]
        return found + check_resolution(self.groups, pages, [], step)  # type: ignore[arg-type]


def _lock(folder: Path, request: Request, pins: Sequence[Pin]) -> Lock:
    lock = Lock(path=folder / "requirements.lock", subject="a", request=request)
    folder.mkdir(parents=True)
    lock.path.write_text(lock_text(lock, pins), encoding="utf-8")
    return lock


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """Two rows that share a lock of two packages, on an index that has them."""
    locks = [_lock(tmp_path / row, REQUEST, [A, B]) for row in ("one", "two")]
    bench = Bench(SmallIndex(), [A, B], {REQUEST: locks})

    def resolve(request: Request, files: object, *, yanked: Sequence[str]) -> list[Pin]:
        bench.yanked = list(yanked)
        return bench.answer

    monkeypatch.setattr(verifying, "resolve", resolve)
    monkeypatch.setattr(verifying, "ROOT", tmp_path)
    monkeypatch.setattr(verifying, "find_wheel", lambda *_: None)
    return bench


def test_a_lock_that_holds_raises_no_finding_and_each_package_is_asked_for_once(
    bench: Bench, step: object
) -> None:
    assert bench.check(step) == []
    assert sorted(bench.index.asked) == ["a", "b"]


def test_a_wheel_that_left_the_index_is_a_problem_said_once(bench: Bench, step: object) -> None:
    del bench.index.projects["b"][0]
    (finding,) = bench.check(step)
    assert finding.level == "problem"
    assert finding.subject == "b==2"
    assert finding.message == f"no index has the wheel with SHA-256 {'b' * 16}... of one/requirements.lock"


def test_a_project_that_left_the_index_is_a_problem(bench: Bench, step: object) -> None:
    del bench.index.projects["a"]
    (finding,) = bench.check(step)
    assert (finding.level, finding.subject) == ("problem", "a==1")


@pytest.mark.parametrize(("reason", "words"), [("broken", "broken"), ("", "its publisher gave no reason")])
def test_a_withdrawn_wheel_is_a_warning_with_its_reason(
    bench: Bench, step: object, reason: str, words: str
) -> None:
    bench.index.projects["a"] = [dataclasses.replace(bench.index.projects["a"][0], yanked=reason)]
    (finding,) = bench.check(step)
    assert (finding.level, finding.subject) == ("warning", "a==1")
    assert finding.message == f"a-1-py3-none-any.whl is withdrawn: {words}"
    assert bench.yanked == ["a==1"]  # or the resolver would choose another, and the lock seem stale


def test_a_wheel_for_another_system_is_a_problem(bench: Bench, step: object) -> None:
    strange = "a-1-cp312-cp312-manylinux_2_28_x86_64.whl"
    bench.index.projects["a"] = [dataclasses.replace(bench.index.projects["a"][0], filename=strange)]
    (finding,) = bench.check(step)
    assert (finding.level, finding.subject) == ("problem", "a==1")
    assert "is not for Python 3.11" in finding.message


def test_another_resolution_is_a_problem_that_names_the_packages(bench: Bench, step: object) -> None:
    bench.answer = [dataclasses.replace(A, version="1.1"), dataclasses.replace(B, hashes=("b" * 64,))]
    (finding,) = bench.check(step)
    assert finding.level == "problem"
    assert finding.message == "is not what resolves today: a 1 -> 1.1, wheels of b"


def test_a_lock_edited_by_hand_is_a_problem(bench: Bench, step: object) -> None:
    path = bench.groups[REQUEST][1].path
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    (finding,) = bench.check(step)
    assert (finding.subject, finding.level) == ("two/requirements.lock", "problem")


def test_requirements_that_no_longer_resolve_are_a_problem(
    bench: Bench, step: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> list[Pin]:
        message = "uv ended with code 1"
        raise CommandFailed(message, tail=("because there is no b==2",))

    monkeypatch.setattr(verifying, "resolve", fail)
    (finding,) = bench.check(step)
    assert finding.message == "its requirements no longer resolve: because there is no b==2"


def test_an_unreachable_index_ends_the_check_at_once(bench: Bench, step: object, tmp_path: Path) -> None:
    many = [Pin(name=f"p{number}", version="1", hashes=("a" * 64,)) for number in range(300)]
    bench.groups[REQUEST] = [_lock(tmp_path / "many", REQUEST, many)]
    bench.index.down = True
    with pytest.raises(Unreachable):
        bench.check(step)
    assert len(bench.index.asked) < 300


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (200, None, ""),
        (404, "problem", "torch.example no longer has it (HTTP 404)"),
        (
            503,
            "warning",
            "not checked: it is in no wheel folder, and torch.example gave no answer (HTTP 503)",
        ),
        (
            None,
            "warning",
            "not checked: it is in no wheel folder, and torch.example gave no answer (Timeout)",
        ),
    ],
)
def test_a_wheel_from_elsewhere_is_gone_only_when_its_server_says_so(
    bench: Bench,
    step: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int | None,
    level: str | None,
    words: str,
) -> None:
    request = dataclasses.replace(REQUEST, wheels=(OWN,))
    bench.groups = {request: [_lock(tmp_path / "cpu", request, [A, TORCH])]}
    monkeypatch.setattr(verifying, "ask", lambda url: Answer(url=url, status=status, reason="Timeout"))
    *found, last = bench.check(step)
    assert [(f.level, f.message) for f in found] == ([(level, words)] if level else [])
    assert last.level == "warning"
    assert last.message == "not resolved anew: torch.whl is in no wheel folder"


def test_a_wheel_that_is_here_is_not_asked_for(
    bench: Bench, step: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = dataclasses.replace(REQUEST, wheels=(OWN,))
    bench.groups = {request: [_lock(tmp_path / "cpu", request, [A, TORCH])]}
    bench.answer = [A, TORCH]
    monkeypatch.setattr(verifying, "find_wheel", lambda *_: tmp_path / "torch.whl")
    assert bench.check(step) == []


def test_the_wheels_of_servers_are_looked_for_too(cpu: BuildSpec, cuda: BuildSpec, step: object) -> None:
    wanted = server_files([cpu, cuda])
    assert [item.pin.name for item in wanted] == ["nvidia-pytriton"]  # both rows have the same one
    index = SmallIndex()
    pages = read_pages(wanted, cast("PackageIndex", index), step)  # type: ignore[arg-type]
    (finding,) = check_files(wanted, pages)
    assert (finding.level, finding.subject) == ("problem", cpu.server.requirement)
    assert finding.message.endswith("of versions.yaml (servers)")
    name = "nvidia_pytriton-0.5.11-py3-none-manylinux_2_35_x86_64.whl"
    index.projects["nvidia-pytriton"] = [IndexFile(filename=name, sha256=str(cpu.server.sha256))]
    pages = read_pages(wanted, cast("PackageIndex", index), step)  # type: ignore[arg-type]
    assert check_files(wanted, pages) == []


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """The verb on the committed locks, with findings that a test puts in."""
    findings: list[Finding] = []
    monkeypatch.setattr(lock_verb, "PackageIndex", lambda: None)
    monkeypatch.setattr(lock_verb, "read_pages", lambda *_: {})
    monkeypatch.setattr(lock_verb, "check_files", lambda *_: findings)
    monkeypatch.setattr(lock_verb, "check_own_wheels", lambda *_: [])
    monkeypatch.setattr(lock_verb, "check_resolution", lambda *_: [])
    return findings


def test_a_problem_ends_with_a_code_of_its_own_and_a_warning_does_not(
    verb: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    verb.append(Finding(level="warning", subject="a==1", message="is withdrawn: x", remedy="y"))
    assert cli.main(["lock", "--check"]) == 0
    assert "warning: a==1: is withdrawn: x -> y" in capsys.readouterr().err
    verb.append(Finding(level="problem", subject="b==2", message="is gone", remedy="y"))
    assert cli.main(["lock", "--check"]) == 16
    assert "error: b==2: is gone" in capsys.readouterr().err


def test_offline_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """The guard of the unit tests fails at any request and any program."""
    assert cli.main(["lock", "--check", "--offline"]) == 0
    assert "are what versions.yaml says" in capsys.readouterr().err
    assert cli.main(["lock", "--offline"]) == 2
