"""The embedded default: an engine and a base image where a bare Debian machine has neither.

Never silent: every installation is announced before it happens.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import docker

from tritonbuild.console import Step
from tritonbuild.engine import connect, find_image, import_image
from tritonbuild.errors import ToolMissing
from tritonbuild.paths import BUILD
from tritonbuild.process import run
from tritonbuild.schema import Base
from tritonbuild.turns import alone

_ENGINE_LOG = BUILD / "dockerd.log"
_START_SECONDS = 60
PID_FILES = (Path("/var/run/docker.pid"), Path("/var/run/docker/containerd/containerd.pid"))


def _is_debian() -> bool:
    path = Path("/etc/os-release")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    words = " ".join(line for line in text.splitlines() if line.startswith(("ID=", "ID_LIKE=")))
    return "debian" in words or "ubuntu" in words


def can_install() -> bool:
    """Tell whether Debian packages can be installed here: root on Debian or Ubuntu."""
    return os.geteuid() == 0 and _is_debian() and shutil.which("apt-get") is not None


def can_start_engine() -> bool:
    """Tell whether a build would install or start an engine where none answers."""
    return not os.environ.get("DOCKER_HOST") and can_install()


def apt_install(packages: list[str], step: Step) -> None:
    """Install Debian packages, and say so."""
    step.milestone(f"installing {', '.join(packages)} with apt-get")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        run(["apt-get", "-qq", *words], on_line=step.note, env=env, children=step.children)


def ensure_engine(step: Step) -> docker.DockerClient:
    """Return a client of a running engine; install and start Debian's where that is possible."""
    try:
        return connect()
    except ToolMissing as error:
        if os.environ.get("DOCKER_HOST"):
            message = f"DOCKER_HOST is set, but {error.message}"
            raise ToolMissing(message, hint="correct DOCKER_HOST, or unset it") from error
        if not can_install():
            raise ToolMissing(
                error.message,
                hint="install Docker Engine 20.10 or newer and start it, then run this again"
                " (as root on Debian or Ubuntu this step would do it for you)",
            ) from error
    with alone("engine", step.children.check) as somebody_did:
        if somebody_did:
            with suppress(ToolMissing):
                return connect()
        if shutil.which("dockerd") is None:
            step.milestone("no container engine here, so Debian's docker.io is installed")
            apt_install(["docker.io"], step)
        return _start_engine(step)


def find_stale_pid_files(files: Iterable[Path], proc: Path = Path("/proc")) -> list[Path]:
    """Return pid files of a killed engine whose number now belongs to another program, or to none.

    dockerd only asks whether the number is taken, and then refuses to start, or waits for a
    containerd that is something else.
    """
    stale = []
    for file in files:
        if not file.is_file():
            continue
        program = proc / file.read_text(encoding="utf-8").strip() / "comm"
        owner = program.read_text(encoding="utf-8").strip() if program.is_file() else None
        if owner not in ("dockerd", "containerd"):
            stale.append(file)
    return stale


def _start_engine(step: Step) -> docker.DockerClient:
    if Path("/run/systemd/system").is_dir():
        step.milestone("starting the engine with systemctl")
        run(["systemctl", "start", "docker"], on_line=step.note)
    else:
        step.milestone(f"starting dockerd, its log is {_ENGINE_LOG.relative_to(BUILD.parent)}")
        _ENGINE_LOG.parent.mkdir(parents=True, exist_ok=True)
        for stale in find_stale_pid_files(PID_FILES):
            stale.unlink()
        with _ENGINE_LOG.open("ab") as log:
            # A session of its own: the engine outlives this process and its terminal.
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return connect()
        except ToolMissing as error:
            if time.monotonic() > deadline:
                message = f"the engine did not answer within {_START_SECONDS} s"
                raise ToolMissing(message, hint=f"read {_ENGINE_LOG} or `journalctl -u docker`") from error
            if not Path("/run/systemd/system").is_dir() and daemon.poll() is not None:
                message = f"dockerd ended at once with code {daemon.returncode}"
                raise ToolMissing(message, hint=f"read the end of {_ENGINE_LOG}") from error
            time.sleep(0.3)


def made_base(base: Base) -> str | None:
    """Return the name of the image that is made where ``base`` cannot be pulled."""
    return f"tritonbuild-base:{base.suite}" if base.suite else None


def make_base(client: docker.DockerClient, base: Base, name: str, step: Step, *, trouble: str) -> str:
    """Make the image ``name`` with mmdebstrap in place of ``base``; return its id.

    ``trouble`` says why the base cannot be had, for the error where mmdebstrap cannot be had either.
    """
    if shutil.which("mmdebstrap") is None:
        if not can_install():
            raise ToolMissing(trouble, hint="install mmdebstrap, or name a base image: --image base,REF")
        apt_install(["mmdebstrap", "debian-archive-keyring"], step)
    step.milestone(f"making {name} with mmdebstrap instead")
    # Midnight in UTC, whatever the time zone of this machine.
    midnight = dt.datetime.combine(base.date or dt.date(1970, 1, 1), dt.time(), dt.timezone.utc)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run(
            [
                "mmdebstrap",
                "--variant=minbase",
                "--include=ca-certificates",
                # What Debian's own slim images leave out as well.
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                # It copies these two from the host.
                '--customize-hook=rm -f "$1/etc/hostname"; install -m 644 /dev/null "$1/etc/resolv.conf"',
                str(base.suite),
                str(archive),
            ],
            on_line=step.note,
            env={"SOURCE_DATE_EPOCH": str(int(midnight.timestamp()))},
            what="mmdebstrap",
            children=step.children,
            hint="mmdebstrap needs a Debian mirror and root, or unprivileged user namespaces",
        )
        repository, _, tag = name.partition(":")
        import_image(client, archive, name=repository, tag=tag, changes=['CMD ["bash"]'])
    image = find_image(client, name)
    assert image is not None  # noqa: S101  (it was just imported)
    return str(image.id)
