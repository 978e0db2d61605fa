"""Known vulnerabilities of what is in an image, as the OSV database has them: Python and Debian packages alike."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
import tenacity
import yaml
from packageurl import PackageURL
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tritonbuild.console import Console
from tritonbuild.errors import MatrixError, Unreachable, Vulnerable
from tritonbuild.paths import ALLOWANCES
from tritonbuild.records import read_record, update_record

SERVICE = "https://api.osv.dev"
_BATCH = 1000
_TIMEOUT = (10, 60)
_HINT = "pass through a proxy, name a mirror of the database with --osv-url, or leave the audit to another machine"


class Allowance(BaseModel):
    """A vulnerability that is known and does not stop a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    package: str | None = None
    reason: str = Field(min_length=10)
    expires: dt.date


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A vulnerability of one package; ``ids`` are all its names, ours first."""

    package: str
    version: str
    ids: tuple[str, ...]
    allowed: str | None = None
    """Why it does not stop a release, where audit.yaml says so."""
    expired: bool = False
    """Whether audit.yaml said so until a day that is over."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the database says of a list of packages."""

    service: str
    asked: int
    findings: tuple[Finding, ...]

    @property
    def open(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.allowed is None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_allowances(path: Path) -> list[Allowance]:
    """Read audit.yaml; raise MatrixError that names every wrong entry."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else []
        return TypeAdapter(list[Allowance]).validate_python(data or [])
    except yaml.YAMLError as error:
        message = f"{path.name} is not valid YAML: {str(error).splitlines()[0]}"
        raise MatrixError(message, hint="the comment at its top shows an entry") from error
    except ValidationError as error:
        lines = [f"{path.name}: entry {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise MatrixError("\n".join(lines), hint="the comment at its top shows an entry") from error


def python_purls(versions: Mapping[str, str]) -> list[PackageURL]:
    """Return the package URLs of locked Python packages; a local version (``+cpu``) is left out."""
    return [PackageURL("pypi", name=name, version=v.partition("+")[0]) for name, v in versions.items()]


def debian_purls(packages: Iterable[Mapping[str, Any]], release: Mapping[str, str]) -> list[PackageURL]:
    """Return the package URLs of installed Debian packages: of their sources, which advisories name."""
    sources = {(package["source"], package["source_version"]) for package in packages}
    return [
        PackageURL(
            "deb",
            namespace=release["ID"],
            name=name,
            version=version,
            qualifiers={"distro": f"{release['ID']}-{release['VERSION_ID']}"},
        )
        for name, version in sorted(sources)
    ]


def purls_inside(contents: Mapping[str, Any]) -> list[PackageURL]:
    """Return the package URLs of all that ``image/list_contents.py`` found in an image."""
    versions = {package["name"]: package["version"] for package in contents["python"]}
    return [*python_purls(versions), *debian_purls(contents["debian"], contents["release"])]


def audit(
    purls: Sequence[PackageURL],
    allowances: Sequence[Allowance],
    *,
    today: dt.date,
    service: str = SERVICE,
    wait: float = 1.0,
) -> Audit:
    """Ask the database about each package. Raises Unreachable when it gives no answer.

    An answer is never taken for "nothing known" unless the database gave it for that very package.
    """
    found: list[Finding] = []
    for start in range(0, len(purls), _BATCH):
        batch = purls[start : start + _BATCH]
        answers = _ask(service, batch, wait)
        for purl, answer in zip(batch, answers, strict=True):
            for entry in answer.get("vulns") or ():
                found.append(_finding(purl, _names(service, str(entry["id"]), wait), allowances, today))
    return Audit(service=service, asked=len(purls), findings=tuple(found))


def check_audit(what: str, result: Audit) -> None:
    """Raise Vulnerable when something is known that audit.yaml does not allow."""
    if not result.open:
        return
    lines = [
        f"{what}: {finding.package} {finding.version} has {', '.join(finding.ids)}"
        + (" (its entry in audit.yaml has expired)" if finding.expired else "")
        for finding in result.open
    ]
    raise Vulnerable(
        "\n".join(lines), hint="take a newer version, or allow it in audit.yaml: why, and until when"
    )


def audit_once(
    what: str,
    contents: Mapping[str, Any],
    folder: Path,
    console: Console,
    *,
    required: bool,
    service: str = SERVICE,
) -> bytes:
    """Return audit.json of a release: what the database says, or said to an earlier run, of what is inside.

    Raises Vulnerable when that stops the release, and with ``required`` Unreachable when it said nothing.
    """
    report = read_record(folder).get("audit")
    if report is None or "not_asked" in report:
        report = _audit_release(what, contents, report, console, required=required, service=service)
        update_record(folder, audit=report)
    return (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()


def _audit_release(
    what: str,
    contents: Mapping[str, Any],
    earlier: dict[str, Any] | None,
    console: Console,
    *,
    required: bool,
    service: str,
) -> dict[str, Any]:
    allowances = read_allowances(ALLOWANCES)
    purls = purls_inside(contents)
    today = dt.datetime.now(dt.timezone.utc).date()
    with console.step("audit", f"{what}: known vulnerabilities of {len(purls)} packages") as step:
        try:
            result = audit(purls, allowances, today=today, service=service)
        except Unreachable as error:
            if required:
                raise
            step.outcome = "not asked"
            console.warn(f"{what}: {error.message}; the release says so (--require-audit refuses it)")
            report = {"asked": 0, "findings": [], "not_asked": error.message, "date": today.isoformat()}
            # The same words on every run, so that the same evidence is not attached twice.
            return earlier or report
        check_audit(what, result)
        step.outcome = f"{len(result.findings)} found, all allowed"
    return {**result.as_json(), "date": today.isoformat()}


def _ask(service: str, purls: Sequence[PackageURL], wait: float) -> list[dict[str, Any]]:
    queries = [{"package": {"purl": str(purl)}} for purl in purls]
    answer = _request(service, "POST", "v1/querybatch", wait, json={"queries": queries})
    results: list[dict[str, Any]] = answer.get("results", [])
    if len(results) != len(queries):
        message = f"{service} answers for {len(results)} of {len(queries)} packages"
        raise Unreachable(message, hint=_HINT)
    return results


def _names(service: str, identifier: str, wait: float) -> tuple[str, ...]:
    """Return all names of a vulnerability, CVE numbers first."""
    entry = _request(service, "GET", f"v1/vulns/{identifier}", wait)
    names = {identifier, *entry.get("aliases", ()), *entry.get("upstream", ())}
    return tuple(sorted(names, key=lambda name: (not name.startswith("CVE-"), name)))


def _finding(
    purl: PackageURL, ids: tuple[str, ...], allowances: Sequence[Allowance], today: dt.date
) -> Finding:
    fitting = [a for a in allowances if a.id in ids and a.package in (None, purl.name)]
    current = next((a for a in fitting if a.expires >= today), None)
    return Finding(
        package=purl.name,
        version=str(purl.version),
        ids=ids,
        allowed=current.reason if current else None,
        expired=bool(fitting) and current is None,
    )


def _request(service: str, method: str, path: str, wait: float, **arguments: Any) -> dict[str, Any]:
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(requests.RequestException),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_exponential_jitter(multiplier=wait, jitter=wait),
        reraise=True,
    )

    def once() -> dict[str, Any]:
        answer = requests.request(method, f"{service}/{path}", timeout=_TIMEOUT, **arguments)
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content

    try:
        return retrying(once)
    except requests.RequestException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        message = f"the database of vulnerabilities gives no answer: {reason}"
        raise Unreachable(message, hint=_HINT) from error
