"""Whether a folder of wheels is complete, judged by the wheels' metadata."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from benchmarks.offline.names import canonical, matches

# The machine, not the one that packs.
ENVIRONMENT = {
    "implementation_name": "cpython",
    "implementation_version": "3.12.3",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.12.3",
    "python_version": "3.12",
    "sys_platform": "linux",
}


@dataclass(frozen=True)
class Wheel:
    name: str
    version: Version
    requires: tuple[Requirement, ...]


@dataclass(frozen=True)
class Closure:
    """What the wheels ask for that is not among them."""

    missing: tuple[str, ...]
    conflicting: tuple[str, ...]
    lent: tuple[str, ...]
    omitted: tuple[str, ...]


def read_wheel(path: Path) -> Wheel:
    """Read a wheel's name, version and requirements."""
    with zipfile.ZipFile(path) as archive:
        [entry] = [
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        ]
        fields = HeaderParser().parsestr(archive.read(entry).decode("utf-8"))
    requires = tuple(Requirement(text) for text in fields.get_all("Requires-Dist") or ())
    return Wheel(canonical(fields["Name"]), Version(fields["Version"]), requires)


def check(
    wheels: Sequence[Wheel], lent: Sequence[str], omitted: Sequence[str], overridden: Sequence[str]
) -> Closure:
    """Compare what the wheels ask for with what there is."""
    versions = {wheel.name: wheel.version for wheel in wheels}
    missing, conflicting, from_machine, left_out = set(), set(), set(), set()
    for wheel, requirement in _required(wheels):
        name = canonical(requirement.name)
        asked = f"{requirement} (by {wheel.name})"
        if name in versions:
            fits = requirement.specifier.contains(versions[name], prereleases=True)
            if not fits and name not in overridden:
                conflicting.add(f"{asked}, packed is {versions[name]}")
        elif matches(name, omitted):
            left_out.add(name)
        elif matches(name, lent):
            from_machine.add(name)
        else:
            missing.add(asked)
    return Closure(*(tuple(sorted(found)) for found in (missing, conflicting, from_machine, left_out)))


def _required(wheels: Sequence[Wheel]) -> set[tuple[Wheel, Requirement]]:
    """Follow the extras that are asked for, until there are no more."""
    extras: dict[str, set[str]] = {wheel.name: {""} for wheel in wheels}
    found: set[tuple[Wheel, Requirement]] = set()
    while True:
        before = sum(map(len, extras.values()))
        for wheel in wheels:
            for requirement in wheel.requires:
                if any(_applies(requirement, extra) for extra in extras[wheel.name]):
                    found.add((wheel, requirement))
                    extras.setdefault(canonical(requirement.name), {""}).update(requirement.extras)
        if sum(map(len, extras.values())) == before:
            return found


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**ENVIRONMENT, "extra": extra})
