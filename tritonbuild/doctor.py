"""Looks for what would stop a build before it costs anything. Starts, installs and changes nothing."""

from __future__ import annotations

import csv
import datetime as dt
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import docker
from docker.auth import resolve_repository_name
from packaging.version import Version

from tritonbuild.buildkit import find_builder
from tritonbuild.engine import Lookup, ask_registry, connect, find_image
from tritonbuild.errors import CommandFailed, ToolMissing
from tritonbuild.findings import Finding, fine, problem, warning
from tritonbuild.host import PID_FILES, can_start_engine, find_stale_pid_files, made_base
from tritonbuild.identifiers import BuildId
from tritonbuild.leftovers import check_build_folder, check_engine_leftovers, check_pid_files
from tritonbuild.paths import BUILD
from tritonbuild.process import run
from tritonbuild.reaching import ask_indexes, check_clock, check_indexes, check_wheels
from tritonbuild.references import mirror_reference, without_digest
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference
from tritonbuild.wheels import wheel_folders

_API_MIN = Version("1.41")  # of Docker Engine 20.10
_ANSWER_SECONDS = 20
# Seen with one cpu row in an empty engine: 2.4 GB of image and 5.4 GB of BuildKit's caches, at a
# budget of 2.6 GB. A further row with the same base and vLLM adds its server and context.
_PER_BUDGET = 3
_FURTHER_ROW = 500_000_000
_CONTEXT = 1_000_000_000


def check_engine() -> tuple[docker.DockerClient | None, list[Finding]]:
    """Return a client of the engine, if one answers, and what is to be said about it."""
    try:
        client = connect(timeout=_ANSWER_SECONDS)
    except ToolMissing as error:
        if can_start_engine():
            remedy = "nothing to do: a build installs and starts Debian's docker.io"
            return None, [warning("engine", error.message, remedy)]
        remedy = str(error.hint)
        if "PermissionError" in error.message:
            remedy = "join the group that owns the engine's socket (usually docker), or run this as root"
        return None, [problem("engine", error.message, remedy)]
    about = client.version()
    name = f"version {about['Version']} answers (API {about['ApiVersion']})"
    if Version(about["ApiVersion"]) < _API_MIN:
        return client, [problem("engine", name, "install Docker Engine 20.10 or newer")]
    return client, [fine("engine", name)]


def check_builder() -> list[Finding]:
    try:
        builder = find_builder()
    except ToolMissing as error:
        if shutil.which("dockerd") is None and can_start_engine():
            return [warning("buildkit", error.message, "nothing to do: it comes with Debian's docker.io")]
        return [problem("buildkit", error.message, str(error.hint))]
    return [fine("buildkit", f"through {' '.join(builder.argv)}")]


def bytes_needed(specs: Iterable[BuildSpec], built: set[BuildId]) -> int:
    """Return what building those of ``specs`` that are not built yet takes at most.

    Rows with the same base and vLLM share their largest layers and all downloads.
    """
    total = 0
    groups: dict[tuple[str, str, str], list[BuildSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.base.pinned_ref, spec.vllm_package, spec.vllm), []).append(spec)
    for group in groups.values():
        missing = [spec for spec in group if spec.row not in built]
        total += len(missing) * _FURTHER_ROW
        if missing and len(missing) == len(group):
            total += max(spec.size_budget_mb for spec in group) * 1_000_000 * _PER_BUDGET - _FURTHER_ROW
    return total


def _check_free(subject: str, folder: Path, needed: int) -> Finding:
    free = shutil.disk_usage(folder).free
    message = f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {folder}"
    if free < needed:
        return problem(subject, message, "free some, such as with docker builder prune, or select fewer rows")
    if free < needed * 1.25:
        return warning(subject, message, "free some before building more than these rows")
    return fine(subject, message)


def check_disk(client: docker.DockerClient | None, specs: Sequence[BuildSpec], build: Path) -> list[Finding]:
    """Compare what the rows need with what is free where the engine keeps its data, and in ``build``."""
    built = {s.row for s in specs if client is not None and find_image(client, image_reference(s))}
    needed = bytes_needed(specs, built)
    here = next(folder for folder in (build.resolve(), *build.resolve().parents) if folder.is_dir())
    if client is None:
        data = next(f for f in (Path("/var/lib/docker"), Path("/var/lib"), Path("/")) if f.is_dir())
        is_local = not os.environ.get("DOCKER_HOST")
    else:
        data = Path(client.info()["DockerRootDir"])
        is_local = str(client.api.base_url).startswith("http+docker://")  # a socket, not the network
    try:
        if not is_local:
            raise FileNotFoundError(data)
        findings = [_check_free("disk", data, needed)]
        same = data.stat().st_dev == here.stat().st_dev
    except OSError:  # another machine, or a virtual one
        message = f"{needed / 1e9:.1f} GB needed; what is free where the engine keeps its data cannot be seen from here"
        findings = [warning("disk", message, "make sure there: df -h")]
        same = False
    return findings if same else [*findings, _check_free("disk of build folder", here, _CONTEXT)]


def check_base_images(
    client: docker.DockerClient, specs: Iterable[BuildSpec], mirror: str | None = None
) -> list[Finding]:
    """Say for each image that the rows start from whether it is here, else whether it can be pulled.

    ``mirror`` is asked in place of each image's own registry.
    """
    findings = []
    silent: dict[str, Lookup] = {}  # a registry that cannot be reached is waited for once
    bases = {spec.base.pinned_ref: made_base(spec.base) for spec in specs}
    servers = {spec.server.pinned_ref: None for spec in specs if spec.server.pinned_ref}
    for pinned, made in {**servers, **bases}.items():
        reference = mirror_reference(pinned, mirror)
        name = without_digest(reference)
        if find_image(client, reference) or find_image(client, pinned):
            findings.append(fine("image", f"{name} is here"))
            continue
        if made and find_image(client, made):
            findings.append(fine("image", f"{made}, made in place of {name}, is here"))
            continue
        registry, _ = resolve_repository_name(name)
        answer = silent.get(registry) or ask_registry(client, reference)
        if not answer.reached:
            silent[registry] = answer
        reason = answer.reason
        if reason is None:
            findings.append(fine("image", f"{name} can be pulled"))
        elif made:
            remedy = "nothing to do where mmdebstrap works: a build makes it; or --image base,REF"
            findings.append(warning("image", f"{name} cannot be pulled ({reason})", remedy))
        else:
            remedy = "log in to its registry (docker login), or name a mirror of it: --registry-mirror HOST"
            findings.append(problem("image", f"{name} cannot be pulled ({reason})", remedy))
    return findings


def check_gpu(specs: Iterable[BuildSpec]) -> list[Finding]:
    """Compare the GPUs here with what each cuda row needs; building needs none."""
    rows = [spec for spec in specs if spec.is_cuda]
    if not rows:
        return []
    if shutil.which("nvidia-smi") is None:
        needed = max((s.driver_min for s in rows if s.driver_min), key=Version, default="of its time")
        remedy = f"build here, serve where the driver is {needed} or newer"
        return [warning("gpu", "no nvidia-smi, so no GPU can serve a cuda image here", remedy)]
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        output = run(query)
    except CommandFailed as error:
        remedy = "run nvidia-smi by hand; reload the driver, or update it where it is too old to be asked"
        return [warning("gpu", error.message, remedy)]
    gpus = [row for row in csv.reader(output.splitlines(), skipinitialspace=True) if len(row) == 3]
    return [_check_row_on_gpu(spec, *gpu) for spec in rows for gpu in gpus]


def _check_row_on_gpu(spec: BuildSpec, name: str, driver: str, capability: str) -> Finding:
    subject = f"gpu for {spec.row}"
    if spec.driver_min and Version(driver) < Version(spec.driver_min):
        message = f"{name} has driver {driver}, the row needs {spec.driver_min}"
        return problem(subject, message, f"install driver {spec.driver_min} or newer")
    if spec.compute_capability_min and Version(capability) < Version(spec.compute_capability_min):
        message = f"{name} has compute capability {capability}, the row needs {spec.compute_capability_min}"
        return problem(subject, message, "serve it on a newer GPU, or choose an older release")
    return fine(subject, f"{name}, driver {driver}, compute capability {capability}")


def examine(
    specs: Sequence[BuildSpec],
    build_dir: Path | None,
    wheelhouses: Sequence[Path],
    mirror: str | None = None,
) -> list[Finding]:
    """Return every finding about building ``specs`` on this machine, in the order of a build."""
    build = build_dir or BUILD
    client, findings = check_engine()
    findings += check_builder()
    findings += check_disk(client, specs, build)
    if client is not None:
        findings += check_base_images(client, specs, mirror)
    answers = []
    for package in dict.fromkeys(spec.engine.package for spec in specs if spec.engine):
        asked = ask_indexes(package)
        findings += check_indexes(package, asked)
        answers += asked
    wheels = dict.fromkeys(wheel for spec in specs for wheel in spec.wheels)
    findings += check_wheels(wheels, wheel_folders(wheelhouses))
    findings += check_clock(answers, dt.datetime.now(dt.timezone.utc))
    findings += check_gpu(specs)
    findings += check_build_folder(build)
    if client is not None:
        findings += check_engine_leftovers(client)
    else:
        findings += check_pid_files(find_stale_pid_files(PID_FILES))
    return findings
