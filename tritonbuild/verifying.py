"""Whether locks can still be installed and resolved: asks the package indexes, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from tritonbuild.console import Step
from tritonbuild.errors import CommandFailed
from tritonbuild.findings import Finding, problem, warning
from tritonbuild.indexes import CONNECTIONS, IndexFile, PackageIndex
from tritonbuild.locking import Lock, lock_text, read_pins
from tritonbuild.paths import ROOT
from tritonbuild.reaching import ask
from tritonbuild.resolving import Pin, Request, resolve
from tritonbuild.schema import Wheel
from tritonbuild.spec import BuildSpec
from tritonbuild.wheels import find_wheel
from tritonbuild.wheeltags import is_installable

Groups = Mapping[Request, Sequence[Lock]]
Pages = Mapping[str, Mapping[str, IndexFile]]
_RESOLVERS = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Files that a build asks an index for, and where they are pinned."""

    pin: Pin
    python: str
    glibc: str
    where: str
    elsewhere: frozenset[str] = frozenset()
    """The SHA-256 of files that no index needs to have."""


def locked_files(groups: Groups) -> list[Wanted]:
    """Return what the locks pin; locks of the same text count once."""
    return [
        Wanted(
            pin=pin,
            python=request.python,
            glibc=request.glibc,
            where=_where(lock),
            elsewhere=frozenset(wheel.sha256 for wheel in request.wheels),
        )
        for request, locks in groups.items()
        for lock in _distinct(locks)
        for pin in _pins(lock)
    ]


def server_files(specs: Iterable[BuildSpec]) -> list[Wanted]:
    """Return the wheels that servers come in; versions.yaml pins them itself."""
    found = {}
    for spec in specs:
        if spec.server.requirement and spec.server.sha256:
            name, _, version = spec.server.requirement.partition("==")
            pin = Pin(name=canonicalize_name(name), version=version, hashes=(spec.server.sha256,))
            base = spec.base
            found[pin] = Wanted(
                pin=pin, python=base.python, glibc=base.glibc, where="versions.yaml (servers)"
            )
    return list(found.values())


def read_pages(wanted: Iterable[Wanted], index: PackageIndex, step: Step) -> Pages:
    """Return the files of each wanted project by their SHA-256; raise Unreachable without an answer."""
    projects = sorted({item.pin.name for item in wanted})
    pages: dict[str, dict[str, IndexFile]] = {}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = {pool.submit(index.files, project): project for project in projects}
        try:
            for future in as_completed(futures):
                pages[futures[future]] = {file.sha256: file for file in future.result()}
                step.note(f"{len(pages)} of {len(projects)} packages")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # a server that does not answer is not asked 200 times
            raise
    return pages


def check_files(wanted: Iterable[Wanted], pages: Pages) -> list[Finding]:
    """Say which wheels are gone from the index, and which are withdrawn, each once."""
    found = (finding for item in wanted for finding in _check_pin(item, pages[item.pin.name]))
    return list(dict.fromkeys(found))


def _check_pin(item: Wanted, files: Mapping[str, IndexFile]) -> Iterable[Finding]:
    subject = f"{item.pin.name}=={item.pin.version}"
    for sha256 in item.pin.hashes:
        file = files.get(sha256)
        if file is None and sha256 not in item.elsewhere:
            message = f"no index has the wheel with SHA-256 {sha256[:16]}... of {item.where}"
            yield problem(subject, message, "find the file and keep it in a wheel folder, or pin another")
        elif file and not is_installable(file.filename, item.python, item.glibc):
            message = f"{file.filename} of {item.where} is not for Python {item.python} of this base"
            yield problem(subject, message, "lock anew")
        elif file and file.yanked is not None:
            reason = file.yanked or "its publisher gave no reason"
            yield warning(subject, f"{file.filename} is withdrawn: {reason}", "think of a newer version")


def check_own_wheels(groups: Groups, folders: Sequence[Path]) -> list[Finding]:
    """Say which wheels with a URL of their own are neither here nor there."""
    wheels = dict.fromkeys(wheel for request in groups for wheel in request.wheels)
    return [finding for wheel in wheels for finding in _check_own_wheel(wheel, folders)]


def _check_own_wheel(wheel: Wheel, folders: Sequence[Path]) -> Iterable[Finding]:
    if find_wheel(wheel, folders):
        return
    answer = ask(wheel.download)
    if answer.status in (404, 410):
        message = f"{answer.host} no longer has it (HTTP {answer.status})"
        yield problem(wheel.requirement, message, f"keep {wheel.filename} in a wheel folder")
    elif answer.status != 200:
        why = f"HTTP {answer.status}" if answer.status else answer.reason
        message = f"not checked: it is in no wheel folder, and {answer.host} gave no answer ({why})"
        yield warning(wheel.requirement, message, "name a folder that holds it: --wheelhouse DIR")


def check_resolution(groups: Groups, pages: Pages, folders: Sequence[Path], step: Step) -> list[Finding]:
    """Say which locks are not what their requirements resolve to, as of their cut-off, today."""
    findings: list[Finding] = []
    with ThreadPoolExecutor(_RESOLVERS) as pool:
        futures = [pool.submit(_check_group, q, locks, pages, folders) for q, locks in groups.items()]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                findings += future.result()
                step.note(f"{done} of {len(futures)} resolutions")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return findings


def _check_group(
    request: Request, locks: Sequence[Lock], pages: Pages, folders: Sequence[Path]
) -> list[Finding]:
    files = [find_wheel(wheel, folders) for wheel in request.wheels]
    missing = [wheel.filename for wheel, file in zip(request.wheels, files, strict=True) if not file]
    if missing:
        message = f"not resolved anew: {', '.join(missing)} is in no wheel folder"
        return [warning(_where(locks[0]), message, "name a folder that holds it: --wheelhouse DIR")]
    found = [file for file in files if file]
    texts = _distinct(locks)
    yanked = sorted({f"{p.name}=={p.version}" for k in texts for p in _pins(k) if _is_yanked(p, pages)})
    try:
        pins = resolve(request, found, yanked=yanked)
    except CommandFailed as error:
        message = f"its requirements no longer resolve: {' '.join(error.tail[-3:])}"
        return [problem(_where(locks[0]), message, "correct its engine in versions.yaml, and lock anew")]
    return [
        problem(_where(lock), f"is not what resolves today: {_difference(_pins(lock), pins)}", "lock anew")
        for lock in texts
        if lock.path.read_text(encoding="utf-8") != lock_text(lock, pins)
    ]


def _is_yanked(pin: Pin, pages: Pages) -> bool:
    files = [pages[pin.name].get(sha256) for sha256 in pin.hashes]
    return any(file and file.yanked is not None for file in files)


def _difference(before: Sequence[Pin], after: Sequence[Pin]) -> str:
    """Name the packages that differ, in few words."""
    old, new = ({p.name: p for p in pins} for pins in (before, after))
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    words = []
    for name in names[:5]:
        versions = [pins[name].version if name in pins else "nothing" for pins in (old, new)]
        words.append(f"{name} {' -> '.join(versions)}" if versions[0] != versions[1] else f"wheels of {name}")
    return ", ".join([*words, f"{len(names) - 5} more"] if len(names) > 5 else words) or "its text"


def _distinct(locks: Sequence[Lock]) -> list[Lock]:
    """Return one lock of each text: rows of the same engine share theirs."""
    return list({lock.path.read_bytes(): lock for lock in reversed(locks)}.values())


def _pins(lock: Lock) -> list[Pin]:
    return read_pins(lock.path.read_text(encoding="utf-8"))


def _where(lock: Lock) -> str:
    return str(lock.path.relative_to(ROOT))
