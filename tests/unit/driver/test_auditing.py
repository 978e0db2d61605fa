from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from packageurl import PackageURL

from tritonbuild import auditing
from tritonbuild.auditing import (
    Allowance,
    audit,
    check_audit,
    debian_purls,
    python_purls,
    read_allowances,
)
from tritonbuild.console import Console
from tritonbuild.errors import MatrixError, Unreachable, Vulnerable

TODAY = dt.date(2026, 11, 1)
TORCH = PackageURL("pypi", name="torch", version="2.3.1")
TINI = PackageURL("pypi", name="tini", version="1")
DETAILS = {"GHSA-1": {"id": "GHSA-1", "aliases": ["CVE-2024-31580", "PYSEC-1"]}}


class Answer:
    def __init__(self, content: Any) -> None:
        self._content = content

    def raise_for_status(self) -> None:
        pass

    def json(self) -> Any:
        return self._content


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[str]]], None]:
    """A function that says which vulnerabilities (ids) the database knows of which package URL."""

    def knows(entries: dict[str, list[str]]) -> None:
        def request(method: str, url: str, **arguments: Any) -> Answer:
            if method == "GET":
                return Answer(DETAILS[url.rpartition("/")[2]])
            asked = [query["package"]["purl"] for query in arguments["json"]["queries"]]
            return Answer({"results": [{"vulns": [{"id": i} for i in entries.get(p, ())]} for p in asked]})

        monkeypatch.setattr(requests, "request", request)

    return knows


def allow(**changes: Any) -> Allowance:
    values = {"id": "CVE-2024-31580", "reason": "the function is never called", "expires": TODAY}
    return Allowance(**{**values, **changes})


def test_nothing_known_is_nothing_found(database: Callable[..., None]) -> None:
    database({})
    result = audit([TORCH, TINI], [], today=TODAY, wait=0)
    assert (result.asked, result.findings) == (2, ())
    check_audit("24.08-cpu-pypi", result)


def test_a_finding_has_all_its_names_and_stops(database: Callable[..., None]) -> None:
    database({str(TORCH): ["GHSA-1"]})
    result = audit([TINI, TORCH], [], today=TODAY, wait=0)
    (finding,) = result.open
    assert (finding.package, finding.version) == ("torch", "2.3.1")
    assert finding.ids == ("CVE-2024-31580", "GHSA-1", "PYSEC-1")
    with pytest.raises(Vulnerable, match=r"24.08-cuda-pypi: torch 2.3.1 has CVE-2024-31580, GHSA-1, PYSEC-1"):
        check_audit("24.08-cuda-pypi", result)


@pytest.mark.parametrize("identifier", ["CVE-2024-31580", "GHSA-1"])
def test_an_allowed_finding_does_not_stop(database: Callable[..., None], identifier: str) -> None:
    database({str(TORCH): ["GHSA-1"]})
    result = audit([TORCH], [allow(id=identifier, package="torch")], today=TODAY, wait=0)
    assert [finding.allowed for finding in result.findings] == ["the function is never called"]
    check_audit("x", result)


@pytest.mark.parametrize(
    ("changes", "expired"),
    [
        ({"expires": TODAY - dt.timedelta(days=1)}, True),
        ({"package": "numpy"}, False),
        ({"id": "CVE-2024-99999"}, False),
    ],
)
def test_an_entry_that_expired_or_is_about_something_else_allows_nothing(
    database: Callable[..., None], changes: dict[str, Any], expired: bool
) -> None:
    database({str(TORCH): ["GHSA-1"]})
    (finding,) = audit([TORCH], [allow(**changes)], today=TODAY, wait=0).open
    assert finding.expired is expired


def test_no_answer_is_not_taken_for_nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "proxy says no"
        raise requests.ConnectionError(msg)

    monkeypatch.setattr(requests, "request", refuse)
    with pytest.raises(Unreachable, match="gives no answer: proxy says no"):
        audit([TORCH], [], today=TODAY, wait=0)


def test_too_few_answers_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "request", lambda *_, **__: Answer({"results": []}))
    with pytest.raises(Unreachable, match="answers for 0 of 1 packages"):
        audit([TORCH], [], today=TODAY, wait=0)


def test_more_packages_than_the_database_takes_at_once_are_all_asked(
    database: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "_BATCH", 2)
    database({str(TORCH): ["GHSA-1"]})
    purls = [TINI, TINI, TINI, TINI, TORCH]
    assert [f.package for f in audit(purls, [], today=TODAY, wait=0).findings] == ["torch"]


def test_package_urls_are_those_that_advisories_are_about() -> None:
    assert list(map(str, python_purls({"torch": "2.13.0+cpu"}))) == ["pkg:pypi/torch@2.13.0"]
    package = {"name": "libssl3", "version": "3.0.1-2", "source": "openssl", "source_version": "3.0.1-2"}
    purls = debian_purls([package, {**package, "name": "openssl"}], {"ID": "debian", "VERSION_ID": "12"})
    assert list(map(str, purls)) == ["pkg:deb/debian/openssl@3.0.1-2?distro=debian-12"]


def test_the_committed_list_can_be_read() -> None:
    read_allowances(Path("audit.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {id: CVE-1, reason: short, expires: 2026-01-01}", "entry 0.reason"),
        ("- {id: CVE-1, reason: long enough now}", "entry 0.expires"),
        ("- {id: CVE-1, reason: long enough now, expires: 2026-01-01, until: x}", "entry 0.until"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text(text)
    with pytest.raises(MatrixError, match=message):
        read_allowances(file)


CONTENTS = {
    "python": [{"name": "torch", "version": "2.3.1+cpu"}],
    "debian": [],
    "release": {"ID": "debian", "VERSION_ID": "12"},
}


@pytest.fixture
def audit_of_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A function that returns audit.json of a release whose record is in ``tmp_path``."""
    monkeypatch.setattr(auditing, "audit", functools.partial(audit, wait=0))
    monkeypatch.setattr(auditing, "ALLOWANCES", tmp_path / "audit.yaml")

    def run(*, required: bool = False) -> dict[str, Any]:
        text = auditing.audit_once(
            "24.08-cpu-pypi", CONTENTS, tmp_path, Console(quiet=True), required=required
        )
        answer: dict[str, Any] = json.loads(text)
        return answer

    return run


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "no route"
        raise requests.ConnectionError(msg)

    monkeypatch.setattr(requests, "request", refuse)


@pytest.mark.usefixtures("unreachable")
def test_a_release_without_the_database_says_so(
    audit_of_release: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    report = audit_of_release()
    assert "no route" in report["not_asked"]
    assert (report["asked"], report["findings"]) == (0, [])
    assert "warning: 24.08-cpu-pypi: the database of vulnerabilities" in capsys.readouterr().err
    assert audit_of_release() == report, "the same words, else it would be attached twice"


@pytest.mark.usefixtures("unreachable")
def test_a_required_audit_is_asked_for_again_until_it_is_there(
    audit_of_release: Callable[..., dict[str, Any]],
) -> None:
    audit_of_release()
    with pytest.raises(Unreachable):
        audit_of_release(required=True)


def test_an_audit_that_was_not_possible_is_made_up_for(
    audit_of_release: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    database: Callable[..., None],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(requests, "request", refuse)
        assert "not_asked" in audit_of_release()
    database({})
    assert audit_of_release(required=True)["asked"] == 1


def test_a_release_with_a_known_vulnerability_is_stopped_each_time(
    audit_of_release: Callable[..., dict[str, Any]], database: Callable[..., None], tmp_path: Path
) -> None:
    database({"pkg:pypi/torch@2.3.1": ["GHSA-1"]})
    for _ in range(2):
        with pytest.raises(Vulnerable, match=r"torch 2\.3\.1 has CVE-2024-31580"):
            audit_of_release()
    (tmp_path / "audit.yaml").write_text(
        "- {id: CVE-2024-31580, reason: the function is never called, expires: 2999-01-01}"
    )
    (finding,) = audit_of_release()["findings"]
    assert finding["allowed"] == "the function is never called"
