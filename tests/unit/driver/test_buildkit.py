"""Building with BuildKit: which client, which command line, what its progress says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonbuild import buildkit
from tritonbuild.buildkit import Builder, build, build_argv, find_builder
from tritonbuild.errors import CommandFailed, ToolMissing

CONTEXT = Path("out/row/context")
ID = "sha256:" + "1" * 64


def _argv(**changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "context": CONTEXT,
        "build_args": {},
        "labels": {},
        "secrets": {},
        "iidfile": Path("out/row/image.id"),
    }
    return build_argv(Builder(("docker", "buildx", "build", "--load")), **{**given, **changes})


def test_a_plain_build_is_as_short_as_it_can_be() -> None:
    assert _argv() == [
        *("docker", "buildx", "build", "--load", "--progress=plain"),
        *("--file", "out/row/context/Dockerfile", "--iidfile", "out/row/image.id"),
        "out/row/context",
    ]


def test_everything_that_is_asked_for_is_one_argument_each() -> None:
    argv = _argv(
        build_args={"BASE_IMAGE": "debian:x"},
        labels={"io.x.base": "made by; hand $(id)"},
        secrets={"ca": Path("ca file.pem"), "uv.toml": Path("uv.toml")},
        no_cache=True,
        target="payload",
    )
    assert argv[9:] == [
        *("--build-arg", "BASE_IMAGE=debian:x"),
        *("--label", "io.x.base=made by; hand $(id)"),
        *("--secret", "id=ca,src=ca file.pem", "--secret", "id=uv.toml,src=uv.toml"),
        *("--no-cache", "--target", "payload"),
        "out/row/context",
    ]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "NO_PROXY"])
def test_proxies_are_handed_on_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "proxy.example:3128")
    argv = _argv()
    assert argv[argv.index("--build-arg") + 1] == name
    assert "proxy.example" not in " ".join(argv)


class Clients:
    """Docker clients of a machine: path -> (has buildx, version line)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[str, tuple[bool, str]] = {}
        monkeypatch.setattr(buildkit, "_candidates", lambda: list(self.found))
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, argv: Sequence[str], **_: object) -> SimpleNamespace:
        has_buildx, version = self.found[argv[0]]
        if argv[1:] == ["buildx", "version"]:
            return SimpleNamespace(returncode=0 if has_buildx else 1, stdout="")
        assert argv[1:] == ["--version"]
        return SimpleNamespace(returncode=0, stdout=version)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(monkeypatch)


def test_buildx_is_taken_where_it_is(clients: Clients) -> None:
    clients.found = {
        "/one/docker": (False, "Docker version 20.10.24+dfsg1, build 297e128"),
        "/two/docker": (True, "Docker version 28.1.0, build 1"),
    }
    assert find_builder() == Builder(("/two/docker", "buildx", "build", "--load"))


def test_debians_client_builds_without_buildx(clients: Clients) -> None:
    """A newer client that hides it on PATH leaves building to a plug-in it does not have."""
    clients.found = {
        "/usr/local/bin/docker": (False, "Docker version 28.1.0, build 1"),
        "/usr/bin/docker": (False, "Docker version 20.10.24+dfsg1, build 297e128"),
    }
    assert find_builder() == Builder(("/usr/bin/docker", "build"), {"DOCKER_BUILDKIT": "1"})


@pytest.mark.parametrize(
    "version", ["Docker version 23.0.1, build x", "Docker version 18.06.1-ce", "podman 4"]
)
def test_a_client_that_cannot_build_is_named(clients: Clients, version: str) -> None:
    clients.found = {"/usr/bin/docker": (False, version)}
    with pytest.raises(ToolMissing) as failure:
        find_builder()
    assert "/usr/bin/docker lack the buildx plug-in" in failure.value.message
    assert "docker-buildx" in str(failure.value.hint)


def test_a_machine_without_client_is_told_what_to_install(clients: Clients) -> None:
    with pytest.raises(ToolMissing) as failure:
        find_builder()
    assert failure.value.message == "no docker client here can build with BuildKit"
    assert "docker.io" in str(failure.value.hint)


def test_every_client_on_path_is_a_candidate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        client = tmp_path / folder / "docker"
        client.touch(mode=0o755)
    folders = [tmp_path / "one", tmp_path / "none", tmp_path / "two", tmp_path / "one"]
    monkeypatch.setenv("PATH", ":".join(map(str, folders)))
    found = [path for path in buildkit._candidates() if path.startswith(str(tmp_path))]
    assert found == [str(tmp_path / "one/docker"), str(tmp_path / "two/docker")]


PROGRESS = """\
#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#7 [python 3/4] RUN --mount=type=cache,target=/root/.cache/uv     set -eu;     uv pip install
#7 0.512 Resolved 148 packages
#7 DONE 61.4s
#8 [payload 1/5] COPY backend/ /opt/
#8 DONE 0.3s
#9 exporting to image
#9 DONE 12.0s
WARN: something without a number
"""


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that says how the next ``docker build`` goes."""

    def prepare(iidfile: Path, failure: CommandFailed | None = None) -> None:
        def run(argv: Sequence[str], *, on_line: Callable[[str], None], env: Any, **_: object) -> str:
            assert env == {"DOCKER_BUILDKIT": "1"}
            assert not iidfile.exists()
            for line in PROGRESS.splitlines():
                on_line(line)
            if failure:
                raise failure
            iidfile.write_text(ID + "\n", encoding="utf-8")
            return PROGRESS

        monkeypatch.setattr(buildkit, "run", run)

    return prepare


OLD = Builder(("docker", "build"), {"DOCKER_BUILDKIT": "1"})


def test_a_build_returns_the_id_that_docker_wrote(
    built: Callable[..., None], step: Any, tmp_path: Path
) -> None:
    iidfile = tmp_path / "image.id"
    iidfile.write_text("sha256:the-build-before", encoding="utf-8")
    built(iidfile)
    assert build(OLD, ["x"], iidfile, step, log=tmp_path / "log") == ID


def test_progress_names_steps_and_how_long_the_slow_ones_took(
    built: Callable[..., None],
    step: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    milestones: list[str] = []
    monkeypatch.setattr(step, "milestone", milestones.append)
    built(tmp_path / "image.id")
    build(OLD, ["x"], tmp_path / "image.id", step, log=tmp_path / "log")
    assert milestones == ["[python 3/4] 61.4 s"]
    assert "[python 3/4] 0.512 Resolved 148 packages" in step.text
    assert "exporting to image" in step.text
    assert "WARN: something without a number" in step.text


def test_a_failed_build_keeps_its_last_lines_and_names_the_log(
    built: Callable[..., None], step: Any, tmp_path: Path
) -> None:
    built(tmp_path / "image.id", CommandFailed("docker build ended with code 1", tail=["the reason"]))
    with pytest.raises(CommandFailed) as failure:
        build(OLD, ["x"], tmp_path / "image.id", step, log=tmp_path / "build.log")
    assert failure.value.tail == ("the reason",)
    assert failure.value.hint == f"the whole log is {tmp_path / 'build.log'}"
    assert not (tmp_path / "image.id").exists()


def test_what_a_step_says_when_it_ends_on_purpose_is_the_message(
    built: Callable[..., None], step: Any, tmp_path: Path
) -> None:
    tail = [
        "#7 [base 2/5] RUN ...",
        "#7 0.412 error: the base image has no vLLM",
        "#7 ERROR: exit code: 1",
        "------",
    ]
    built(tmp_path / "image.id", CommandFailed("docker build ended with code 1", tail=tail))
    with pytest.raises(CommandFailed) as failure:
        build(OLD, ["x"], tmp_path / "image.id", step, log=tmp_path / "build.log")
    assert failure.value.message == "docker build ended with code 1: the base image has no vLLM"
