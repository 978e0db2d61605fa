"""docker build through BuildKit: the argv, the progress lines, the resulting image id."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tritonbuild.console import Step
from tritonbuild.errors import CommandFailed, ToolMissing
from tritonbuild.paths import shown
from tritonbuild.process import run

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_LINE = re.compile(r"#(?P<number>\d+) (?P<text>.*)")
# What a step of our templates says when it ends on purpose.
_SAID = re.compile(r"#\d+ [\d.]+ error: (?P<text>.*)")
_DONE = re.compile(r"DONE (?P<seconds>[\d.]+)s")


@dataclass(frozen=True)
class Builder:
    """A docker client that can build with BuildKit."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def _candidates() -> list[str]:
    """Return every docker client on PATH, and Debian's, which another one may hide."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin"]
    paths = [path for folder in folders if (path := shutil.which("docker", path=folder))]
    return list(dict.fromkeys(paths))


def _succeeds(argv: Sequence[str]) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def find_builder() -> Builder:
    """Return the first client with the buildx plug-in, else one that has BuildKit built in."""
    clients = _candidates()
    for client in clients:
        if _succeeds([client, "buildx", "version"]):
            return Builder((client, "buildx", "build", "--load"))
    for client in clients:
        version = subprocess.run(
            [client, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        ).stdout
        match = re.search(r"version (\d+)\.", version)
        # From 23 on the client leaves building to the plug-in, which was not found above.
        if match and 18 < int(match[1]) < 23:
            return Builder((client, "build"), {"DOCKER_BUILDKIT": "1"})
    message = "no docker client here can build with BuildKit"
    if clients:
        message += f" ({', '.join(clients)} lack the buildx plug-in)"
    raise ToolMissing(message, hint="install docker-buildx, or Debian 12's docker.io (20.10)")


def build_argv(
    builder: Builder,
    *,
    context: Path,
    build_args: Mapping[str, str],
    labels: Mapping[str, str],
    secrets: Mapping[str, Path],
    iidfile: Path,
    no_cache: bool = False,
    target: str | None = None,
) -> list[str]:
    """Return the whole command line of one build."""
    argv = [
        *builder.argv,
        "--progress=plain",
        "--file",
        str(context / "Dockerfile"),
        "--iidfile",
        str(iidfile),
    ]
    for name, value in build_args.items():
        argv += ["--build-arg", f"{name}={value}"]
    for name in PROXIES:
        if os.environ.get(name):
            argv += ["--build-arg", name]
    for name, value in labels.items():
        argv += ["--label", f"{name}={value}"]
    for name, path in secrets.items():
        argv += ["--secret", f"id={name},src={path}"]
    if no_cache:
        argv.append("--no-cache")
    if target:
        argv += ["--target", target]
    return [*argv, str(context)]


class _Progress:
    """Turns BuildKit's plain progress into notes, and a line for each step that took a while."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._titles: dict[str, str] = {}

    def __call__(self, line: str) -> None:
        match = _LINE.match(line)
        if not match:
            self._step.console.log(line)
            return
        number, text = match["number"], match["text"]
        done = _DONE.fullmatch(text)
        if text.startswith("["):
            self._titles[number] = re.sub(r"\s+", " ", text).replace("--mount=type=", "")[:90]
            self._step.note(self._titles[number])
        elif done and float(done["seconds"]) >= 1.0 and number in self._titles:
            self._step.milestone(f"{self._short(number)} {done['seconds']} s")
        else:
            self._step.note(f"{self._short(number)} {text}" if number in self._titles else text)

    def _short(self, number: str) -> str:
        return self._titles[number].partition("]")[0] + "]"


def build(builder: Builder, argv: Sequence[str], iidfile: Path, step: Step, *, log: Path) -> str:
    """Run a build; return the id of the image (``sha256:...``)."""
    iidfile.unlink(missing_ok=True)
    try:
        run(
            argv,
            on_line=_Progress(step),
            env=builder.env,
            what="docker build",
            keep=25,
            children=step.children,
        )
    except CommandFailed as error:
        said = [match["text"] for line in error.tail if (match := _SAID.fullmatch(line))]
        message = f"{error.message}: {said[-1]}" if said else error.message
        raise CommandFailed(message, tail=error.tail, hint=f"the whole log is {shown(log)}") from error
    return iidfile.read_text(encoding="utf-8").strip()
