"""uv's resolver: requirements and a date in, pinned packages with the hashes of their wheels out."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from tritonbuild.errors import CommandFailed, ToolMissing, Unreachable
from tritonbuild.indexes import uv_environment
from tritonbuild.process import run
from tritonbuild.schema import Wheel
from tritonbuild.wheeltags import is_installable

# How uv words that a server could not be asked, which says nothing about what it has.
_NO_ANSWER = re.compile(r"error sending request|HTTP status server error|timed out")


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that a lock is resolved from. Requests that are equal have the same answer."""

    python: str
    glibc: str
    requirements: tuple[str, ...]
    cutoff: dt.datetime | None = None
    exceptions: tuple[tuple[str, dt.datetime], ...] = ()
    overrides: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    with_dependencies: bool = True

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that the answer depends on."""
        inputs = {
            "python": self.python,
            "glibc": self.glibc,
            "requirements": self.requirements,
            "cutoff": self.cutoff.isoformat() if self.cutoff else None,
            "exceptions": {name: until.isoformat() for name, until in self.exceptions},
            "overrides": self.overrides,
            "excludes": self.excludes,
            "wheels": {wheel.requirement: wheel.sha256 for wheel in self.wheels},
            "with_dependencies": self.with_dependencies,
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One version of a package and the SHA-256 (hex, sorted) of each of its installable wheels."""

    name: str
    version: str
    hashes: tuple[str, ...]


def find_uv() -> str:
    """Return the uv that requirements.txt pins, which lies beside our Python."""
    beside = Path(sys.executable).parent / "uv"
    path = str(beside) if beside.is_file() else shutil.which("uv")
    if path is None:
        message = "uv is not installed"
        raise ToolMissing(message, hint="install the driver's tools: pip install -r requirements.txt")
    return path


def resolve(request: Request, files: Sequence[Path] = (), *, yanked: Sequence[str] = ()) -> list[Pin]:
    """Return what an image that asks for ``request`` gets, ordered by name.

    ``files`` are the verified files of the request's own wheels; nothing else of their folders is
    looked at, so what else lies there cannot be chosen. ``yanked`` (name==version) may be chosen though
    their publisher has withdrawn them since. Raises Unreachable where uv could not ask an index.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        answer = folder / "pylock.toml"
        argv = _argv(request, folder, answer)
        if files:
            links = folder / "wheels"
            links.mkdir()
            for file in files:
                (links / file.name).symlink_to(file.resolve())
            argv += ["--find-links", str(links)]
        if yanked:
            constraints = folder / "constraints.txt"
            constraints.write_text("\n".join(yanked) + "\n", encoding="utf-8")
            argv += ["--constraints", str(constraints)]
        _run_uv(argv)
        packages = tomli.loads(answer.read_text(encoding="utf-8")).get("packages", [])
    return [_pin(package, request) for package in packages]


def _run_uv(argv: Sequence[str]) -> None:
    hint = "the last lines above name the requirement that does not resolve"
    try:
        run(argv, env=uv_environment(), what="uv pip compile", hint=hint)
    except CommandFailed as error:
        if _NO_ANSWER.search("\n".join(error.tail)):
            message = "uv got no answer from a package index"
            raise Unreachable(message, hint="check network, proxy and certificates") from error
        raise


def _argv(request: Request, folder: Path, answer: Path) -> list[str]:
    """Return uv's command line, and write the files that it names to ``folder``."""

    def write(name: str, lines: Sequence[str]) -> str:
        path = folder / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    wanted = [*request.requirements, *(wheel.requirement for wheel in request.wheels)]
    argv = [find_uv(), "pip", "compile", write("in.txt", wanted)]
    argv += ["--format", "pylock.toml", "--output-file", str(answer)]
    argv += ["--python-version", request.python]
    argv += ["--python-platform", f"x86_64-manylinux_{request.glibc.replace('.', '_')}"]
    argv += ["--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"]
    if request.cutoff:
        argv += ["--exclude-newer", request.cutoff.isoformat()]
    for package, until in request.exceptions:
        argv += ["--exclude-newer-package", f"{package}={until.isoformat()}"]
    if request.overrides:
        argv += ["--overrides", write("overrides.txt", request.overrides)]
    if request.excludes:
        argv += ["--excludes", write("excludes.txt", request.excludes)]
    if not request.with_dependencies:
        argv.append("--no-deps")
    return argv


def _pin(package: dict[str, Any], request: Request) -> Pin:
    """Return a package of uv's answer. uv has left most wheels of other systems out already."""
    hashes = [
        wheel["hashes"]["sha256"]
        for wheel in package.get("wheels", [])
        if is_installable(_filename(wheel), request.python, request.glibc)
    ]
    return Pin(name=package["name"], version=package["version"], hashes=tuple(sorted(hashes)))


def _filename(wheel: dict[str, Any]) -> str:
    """Return the file's name as PEP 751 has it: as `name`, else the last part of URL or path."""
    place = urllib.parse.urlsplit(wheel.get("url", "")).path or wheel.get("path", "")
    return str(wheel.get("name") or urllib.parse.unquote(place).rsplit("/", 1)[-1])
