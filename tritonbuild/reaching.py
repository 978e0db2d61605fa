"""Whether the servers that a build downloads from answer, and whether our clock agrees with theirs."""

from __future__ import annotations

import datetime as dt
import email.utils
import urllib.parse
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from urllib3.exceptions import InsecureRequestWarning

from tritonbuild.findings import Finding, fine, problem, warning
from tritonbuild.indexes import certificates_for, configured_indexes
from tritonbuild.paths import BUILD
from tritonbuild.schema import Wheel

_TIMEOUT = (5, 10)  # seconds to connect, seconds to answer
_SKEW = dt.timedelta(minutes=1)
_HARMFUL_SKEW = dt.timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said: a status with the time there, or why there is none."""

    url: str
    status: int | None = None
    reason: str = ""
    date: str | None = None
    age: str | None = None

    @property
    def host(self) -> str:
        """Only the host: a URL may hold a password."""
        return urllib.parse.urlsplit(self.url).hostname or "a server without a name"


def ask(url: str, insecure: Sequence[str] = ()) -> Answer:
    """Return what a HEAD request, or a GET where that is not allowed, is answered."""
    verify = certificates_for(url, insecure)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)  # pip was told to trust this host
            reply = requests.head(url, timeout=_TIMEOUT, verify=verify, allow_redirects=True)
            if reply.status_code in (405, 501):
                reply = requests.get(url, timeout=_TIMEOUT, verify=verify, stream=True)
        reply.close()
    except requests.RequestException as error:
        return Answer(url=url, reason=type(error).__name__)
    headers = reply.headers
    return Answer(url=url, status=reply.status_code, date=headers.get("Date"), age=headers.get("Age"))


def ask_indexes(package: str) -> list[Answer]:
    """Ask each package index that pip and uv are configured with for ``package``."""
    indexes, insecure = configured_indexes()
    return [ask(f"{index.rstrip('/')}/{package}/", insecure) for index in indexes]


def check_indexes(package: str, answers: Iterable[Answer]) -> list[Finding]:
    """Say for each index whether a build can use it; one of them has to have ``package``."""
    found = list(answers)
    somewhere = any(answer.status == 200 for answer in found)
    subject = "index"
    findings = []
    for answer in found:
        host, status = answer.host, answer.status
        if status is None:
            message = f"{host} cannot be reached ({answer.reason})"
            remedy = "check network, proxy and certificates, or name a mirror: PIP_INDEX_URL, PIP_CERT"
            findings.append(problem(subject, message, remedy))
        elif status == 200:
            findings.append(fine(subject, f"{host} answers and has {package}"))
        elif status in (401, 403, 407):
            message = f"{host} refuses with HTTP {status}"
            findings.append(problem(subject, message, "put your credentials for it into ~/.netrc"))
        elif status == 404 and somewhere:
            findings.append(fine(subject, f"{host} answers; another index has {package}"))
        elif status == 404:
            message = f"{host} answers, but has no {package}"
            findings.append(problem(subject, message, "name an index that has it: PIP_EXTRA_INDEX_URL"))
        else:
            message = f"{host} answers with HTTP {status}"
            findings.append(problem(subject, message, "try again later, or name a mirror: PIP_INDEX_URL"))
    return findings


def check_wheels(wheels: Iterable[Wheel], folders: Sequence[Path]) -> list[Finding]:
    """Say for each wheel of a row's own whether it is here, else whether it can be downloaded."""
    findings = []
    for wheel in wheels:
        subject = f"wheel {wheel.requirement}"
        here = [folder for folder in (*folders, BUILD / "wheels") if (folder / wheel.filename).is_file()]
        if here:
            findings.append(fine(subject, f"is in {here[0]}"))
            continue
        answer = ask(wheel.download)
        if answer.status == 200:
            findings.append(fine(subject, f"can be downloaded from {answer.host}"))
        else:
            why = f"HTTP {answer.status}" if answer.status else answer.reason
            message = f"cannot be downloaded from {answer.host} ({why})"
            remedy = f"put {wheel.filename} into a folder and name it with --wheelhouse DIR or PIP_FIND_LINKS"
            findings.append(problem(subject, message, remedy))
    return findings


def check_clock(answers: Iterable[Answer], now: dt.datetime) -> list[Finding]:
    """Compare our clock with the first server that told the time."""
    for answer in answers:
        try:
            then = email.utils.parsedate_to_datetime(answer.date or "")
        except ValueError:
            continue
        if then.tzinfo is None:
            continue
        # A cache may hand on the time at which it was asked itself, so many seconds ago.
        age = answer.age or ""
        cached = dt.timedelta(seconds=int(age) if age.isdecimal() else 0)
        skew = max(then - now, now - (then + cached), dt.timedelta())
        if skew <= _SKEW:
            return [fine("clock", f"agrees with {answer.host} within {_SKEW.seconds} s")]
        ahead = "ahead of" if now > then else "behind"
        message = f"is {int(skew.total_seconds())} s {ahead} {answer.host}"
        remedy = "set it, or switch on time synchronisation (timedatectl set-ntp true)"
        # Beyond some skew certificates and apt's package lists do not count as valid.
        return [(problem if skew > _HARMFUL_SKEW else warning)("clock", message, remedy)]
    return [warning("clock", "no index told the time", "compare the output of `date -u` with a clock")]
