"""Fixtures of the driver's tests: the real matrix, the command line, and a guard against the world."""

from __future__ import annotations

import functools
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import docker
import pytest
import requests

from tritonbuild import cli, turns
from tritonbuild.console import Console, Step
from tritonbuild.identifiers import BuildId
from tritonbuild.images import FoundImage
from tritonbuild.loading import load_matrix
from tritonbuild.matrix import Matrix
from tritonbuild.paths import MATRIX
from tritonbuild.pipeline import BuildResult
from tritonbuild.smoke import SmokeResult
from tritonbuild.spec import BuildSpec, resolve_spec

SpecOf = Callable[[str], BuildSpec]

# What a developer's machine may have set and what would change the outcome of a test.
_SETTINGS = re.compile(
    r"(?i)(pip_|uv_|docker_|tritonbuild_).*|(https?|no)_proxy|netrc|ssl_cert_file|requests_ca_bundle"
    r"|curl_ca_bundle|ci|force_color|no_color|columns|tty_\w+"
)


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_outside_world(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """Make programs, the engine and the network unreachable, and the environment a bare one."""

    def refuse(name: str) -> Callable[..., NoReturn]:
        def refused(*_: object, **__: object) -> NoReturn:
            # pytest.fail, because its exception passes through every `except Exception`.
            pytest.fail(f"a unit test reached {name}")

        return refused

    for owner, names in (
        (subprocess, ("Popen", "run", "call", "check_call", "check_output")),
        (os, ("execv", "system", "posix_spawn")),
        (docker, ("from_env", "DockerClient")),
        (requests, ("get", "post", "put", "head", "request")),
        (requests.Session, ("request", "send")),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, refuse(f"{owner.__name__}.{name}"))
    for variable in os.environ:
        if _SETTINGS.fullmatch(variable):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(empty_home))
    monkeypatch.setattr(turns, "_SHARED", empty_home)  # a real build's turn is not ours


@pytest.fixture(scope="session")
def matrix() -> Matrix:
    """The committed versions.yaml."""
    return load_matrix(MATRIX)


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Matrix]:
    """A function that loads the text of a versions.yaml after replacing some of it, each once."""

    def load(text: str, *edits: tuple[str, str]) -> Matrix:
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        file = tmp_path / "versions.yaml"
        file.write_text(text, encoding="utf-8")
        return load_matrix(file)

    return load


@pytest.fixture(scope="session")
def spec_of(matrix: Matrix) -> SpecOf:
    """A function from the id of a row to its spec."""

    def resolve(row: str) -> BuildSpec:
        release, variant, source = row.split("-", 2)
        return resolve_spec(matrix, BuildId(release, variant, source))

    return resolve


@pytest.fixture(scope="session")
def gap(matrix: Matrix) -> Matrix:
    """A matrix that has no 24.03-cuda-pypi, and all else."""
    facts = matrix.releases["24.03"]
    images = {key: cell for key, cell in facts.images.items() if key != "cuda-pypi"}
    releases = {**matrix.releases, "24.03": facts.model_copy(update={"images": images})}
    return matrix.model_copy(update={"releases": releases})


@pytest.fixture
def cpu(spec_of: SpecOf) -> BuildSpec:
    return spec_of("24.08-cpu-pypi")


@pytest.fixture
def cuda(spec_of: SpecOf) -> BuildSpec:
    return spec_of("24.08-cuda-pypi")


@dataclass
class LoggedStep(Step):
    """A step whose notes and milestones a test can read."""

    @property
    def text(self) -> str:
        assert isinstance(self.console.log_stream, io.StringIO)
        return self.console.log_stream.getvalue()


@pytest.fixture
def step() -> LoggedStep:
    return LoggedStep(Console(quiet=True, log_stream=io.StringIO()), "a test")


class WriteWatch:
    """Notes every file that this process opens for writing, makes, renames or removes."""

    _CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")

    def __init__(self) -> None:
        self.active = False
        self.changes: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path != os.devnull:
                self.changes.append(f"open {path}")
        elif event in self._CHANGES:
            self.changes.append(f"{event} {arguments[0]}")


# An audit hook stays for the life of the process, so there is one.
_WATCH = WriteWatch()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended, what it printed, and which files it touched."""

    code: int
    out: str
    err: str
    writes: tuple[str, ...] = field(default=())

    @property
    def errors(self) -> list[str]:
        return [x.removeprefix("error: ") for x in self.err.splitlines() if x.startswith("error: ")]

    @property
    def hints(self) -> list[str]:
        return [x.removeprefix("hint: ") for x in self.err.splitlines() if x.startswith("hint: ")]

    def assert_refused(self, code: int, *, error: str, hint: str) -> None:
        """One line that says what is wrong, one that says what to do, and nothing else happened."""
        assert self.code == code, self.err
        assert len(self.err.splitlines()) == 2, self.err
        assert len(self.errors) == 1, self.err
        assert len(self.hints) == 1, self.err
        assert error in self.errors[0]
        assert hint in self.hints[0]
        assert self.out == ""
        assert self.writes == ()


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """A function that runs ``./build.py WORDS...`` inside this process."""

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        _WATCH.changes.clear()
        _WATCH.active = True
        try:
            code = cli.main(list(words))
        finally:
            _WATCH.active = False
        out, err = capsys.readouterr()
        return Outcome(code=code, out=out, err=err, writes=tuple(_WATCH.changes))

    yield run
    _WATCH.active = False


@functools.cache
def _locked(lock: Path) -> dict[str, str]:
    text = lock.read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, flags=re.MULTILINE))


@pytest.fixture
def facts_of() -> Callable[[BuildSpec], dict[str, Any]]:
    """A function that returns what inspect_image.py prints in an image that keeps its promises."""

    def facts(spec: BuildSpec) -> dict[str, Any]:
        features = spec.server.features.model_dump(mode="json")
        return {
            "python": spec.base.python,
            "uid": 1000,
            "features": {kind: sorted(values) for kind, values in features.items()},
            "abilities": sorted(name for name, has in spec.abilities.items() if has),
            "parts": {"python: torch": 700_000_000, "python: vllm": 400_000_000, "server": 150_000_000},
            "packages": dict(_locked(spec.folder / "requirements.lock")),
            "debian": {"curl": "7.88.1-10+deb12u14"},
            "compilers": ["gcc"] if spec.is_cuda else [],
            "backend_files": ["model.py"],
        }

    return facts


@pytest.fixture
def result_of(facts_of: Callable[[BuildSpec], dict[str, Any]]) -> Callable[..., BuildResult]:
    """A function that returns what a successful build of a row returns."""

    def result(spec: BuildSpec, **changes: Any) -> BuildResult:
        smoke = SmokeResult(
            image_id="sha256:1",
            tests_sha256="2",
            passed=12,
            failed=0,
            skipped=("test_gpu: no GPU here",),
        )
        values: dict[str, Any] = {
            "spec": spec,
            "tags": ("tritonserver:a-tag",),
            "image_id": "sha256:1",
            "revision": "1" * 40,
            "reused": False,
            "size": 1_300_000_000,
            "layers": {"sha256:base": 1_200_000_000, f"sha256:{spec.row}": 100_000_000},
            "facts": facts_of(spec),
            "base": FoundImage(reference="debian:x", image_id="sha256:0", origin="debian:x"),
            "server": None,
            "smoke": smoke,
            "smoke_reused": False,
            "seconds": {"build": 61.25},
            "log": Path("build/x/build.log"),
        }
        return BuildResult(**{**values, **changes})

    return result
