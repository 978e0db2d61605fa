"""What interrupted builds and tests left behind. Looks only; nothing is removed."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import docker

from tritonbuild.findings import Finding, fine, warning
from tritonbuild.labels import PREFIX
from tritonbuild.records import read_record

_LABEL = f"{PREFIX}.row"


def is_held(lock: Path) -> bool:
    """Tell whether a process holds this lock; a dead process holds none, its file means nothing."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _half_written(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob(".record.json.*"))
    if (folder / "context.new").exists():
        yield folder / "context.new"
    record = folder / "record.json"
    if record.exists() and not read_record(folder):
        yield record


def _is_abandoned(part: Path, proc: Path) -> bool:
    """Tell whether the process that a partial download is named after has ended."""
    return not (proc / part.suffixes[-2].lstrip(".")).exists()


def check_build_folder(build: Path, proc: Path = Path("/proc")) -> list[Finding]:
    """Return what lies half written in the folder of logs and records, and which rows are in work."""
    findings: list[Finding] = []
    stale: list[Path] = []
    for folder in sorted(path for path in build.glob("*") if path.is_dir()):
        if is_held(folder / "lock"):
            message = f"{folder.name} is being built or tested by another process"
            findings.append(warning("lock", message, "wait for it, or give a build its own --build-dir"))
        else:
            stale += _half_written(folder)
    stale += [part for part in sorted(build.glob("wheels/*.*.part")) if _is_abandoned(part, proc)]
    if stale:
        names = ", ".join(str(path.relative_to(build)) for path in stale)
        findings.append(warning("build folder", f"half written: {names}", _removal(stale)))
    return findings or [fine("build folder", "nothing half written, no row in work")]


def _removal(paths: Iterable[Path]) -> str:
    return "remove with " + shlex.join(["rm", "-r", *map(str, paths)])


def check_pid_files(stale: Iterable[Path]) -> list[Finding]:
    """Return a finding for files of a killed engine that keep the next one from starting."""
    return [
        warning("pid file", f"{path} names no running engine", f"remove with rm {shlex.quote(str(path))}")
        for path in stale
    ]


def check_engine_leftovers(client: docker.DockerClient) -> list[Finding]:
    """Return stopped containers and unnamed images that were made of this project's images."""
    findings = []
    filters: dict[str, str | list[str] | bool] = {"label": _LABEL, "status": ["created", "exited", "dead"]}
    stopped = client.containers.list(all=True, sparse=True, filters=filters)
    if stopped:
        message = f"{len(stopped)} stopped"
        remedy = f"remove with docker container prune --filter label={_LABEL}"
        findings.append(warning("containers", message, remedy))
    unnamed = client.images.list(filters={"label": _LABEL, "dangling": True})
    if unnamed:
        message = f"{len(unnamed)} without a name, left by later builds"
        remedy = f"remove with docker image prune --filter label={_LABEL}"
        findings.append(warning("images", message, remedy))
    return findings or [fine("engine leftovers", "no stopped container, no unnamed image")]
