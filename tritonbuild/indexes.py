"""The package indexes that pip and uv are configured with, and which files they hold (PEP 503, 691, 592)."""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.exceptions import InsecureRequestWarning

from tritonbuild.errors import Unreachable
from tritonbuild.secrets import find_ca_bundle, index_settings

CONNECTIONS = 16
_TIMEOUT = (5, 30)  # seconds to connect, seconds to answer
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_WORTH_ANOTHER_TRY = (429, 500, 502, 503, 504)


def default_index() -> str:
    """Return the index that pip asks where none is configured, as pip itself names it."""
    from pip._internal.models.index import PyPI

    return str(PyPI.simple_url)


def configured_indexes() -> tuple[list[str], list[str]]:
    """Return the indexes to ask, in order, and the hosts whose certificates are not to be checked."""
    settings = index_settings()
    urls = [str(settings.get("index-url") or default_index()), *settings.get("extra-index-url", [])]
    return urls, list(settings.get("allow-insecure-host", []))


def uv_environment() -> dict[str, str]:
    """Return the variables that make uv ask the same indexes: it does not read pip's configuration."""
    settings = index_settings()
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "allow-insecure-host": "UV_INSECURE_HOST",
    }
    return {
        names[key]: value if isinstance(value, str) else " ".join(value) for key, value in settings.items()
    }


def certificates_for(url: str, insecure: Sequence[str]) -> bool | str:
    """Return what requests calls ``verify``: the certificates to trust, or False for an insecure host."""
    parts = urllib.parse.urlsplit(url)
    if {parts.hostname, f"{parts.hostname}:{parts.port}"} & set(insecure):
        return False
    bundle = find_ca_bundle(None)
    return str(bundle) if bundle else True


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """A file of an index; ``yanked`` is why it was withdrawn ("" without a reason), None if it was not."""

    filename: str
    sha256: str
    yanked: str | None = None
    uploaded: dt.datetime | None = None
    """When, where the index says so."""


class PackageIndex:
    """All configured indexes as one. Knows no file from an index that does not say its SHA-256."""

    def __init__(self) -> None:
        self._urls, self._insecure = configured_indexes()
        self._session = requests.Session()
        self._session.headers["Accept"] = _ACCEPT
        self._session.mount("https://", HTTPAdapter(pool_maxsize=CONNECTIONS))

    def files(self, project: str) -> list[IndexFile]:
        """Return the files of a project, none where no index has it; raise Unreachable without an answer."""
        return [file for url in self._urls for file in self._ask(f"{url.rstrip('/')}/{project}/")]

    def _ask(self, url: str) -> list[IndexFile]:
        host = urllib.parse.urlsplit(url).hostname
        try:
            reply = self._get(url)
            if reply.status_code in (404, 410):
                return []
            reply.raise_for_status()
            if "json" in reply.headers.get("Content-Type", ""):
                return _from_json(reply.json())
            return _from_html(reply.text)
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            message = (
                f"the index {host} gave no answer: {f'HTTP {status}' if status else type(error).__name__}"
            )
            hint = "check network, proxy and certificates, or name a mirror: PIP_INDEX_URL, PIP_CERT"
            raise Unreachable(message, hint=hint) from error

    @retry(
        retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
        stop=stop_after_attempt(4),
        wait=wait_exponential(multiplier=0.5, max=8),
        reraise=True,
    )
    def _get(self, url: str) -> requests.Response:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureRequestWarning)  # pip was told to trust this host
            verify = certificates_for(url, self._insecure)
            reply = self._session.get(url, timeout=_TIMEOUT, verify=verify)
        if reply.status_code in _WORTH_ANOTHER_TRY:
            raise requests.ConnectionError(response=reply)
        return reply


def _from_json(page: dict[str, Any]) -> list[IndexFile]:
    return [
        IndexFile(
            filename=file["filename"],
            sha256=file["hashes"]["sha256"],
            yanked=_reason(file.get("yanked")),
            uploaded=_moment(file.get("upload-time")),
        )
        for file in page["files"]
        if "sha256" in file["hashes"]
    ]


def _reason(yanked: object) -> str | None:
    """Return why a file was withdrawn: the index says False, True or a reason."""
    if yanked is None or yanked is False:
        return None
    return yanked if isinstance(yanked, str) else ""


def _moment(text: str | None) -> dt.datetime | None:
    # Python 3.10 reads neither a Z nor more than six digits of a second.
    match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text or "")
    return dt.datetime.fromisoformat(f"{match[0]}+00:00") if match else None


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[IndexFile] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        parts = urllib.parse.urlsplit(values.get("href") or "")
        kind, _, digest = parts.fragment.partition("=")
        if tag == "a" and kind == "sha256":
            name = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
            yanked = (values["data-yanked"] or "") if "data-yanked" in values else None
            self.files.append(IndexFile(filename=name, sha256=digest, yanked=yanked))


def _from_html(page: str) -> list[IndexFile]:
    links = _Links()
    links.feed(page)
    return links.files
