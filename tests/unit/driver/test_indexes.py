"""What an index is asked and how its answers are read, with a stand-in for the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from tenacity import wait_none

from tritonbuild import indexes
from tritonbuild.errors import Unreachable
from tritonbuild.indexes import (
    IndexFile,
    PackageIndex,
    certificates_for,
    configured_indexes,
    default_index,
    uv_environment,
)

PAGE = {
    "meta": {"api-version": "1.1"},
    "name": "a",
    "files": [
        {"filename": "a-1.tar.gz", "url": "x", "hashes": {"md5": "0"}, "yanked": False},
        {"filename": "a-1-py3-none-any.whl", "url": "x", "hashes": {"sha256": "aa"}},
        {"filename": "a-2-py3-none-any.whl", "url": "x", "hashes": {"sha256": "bb"}, "yanked": "broken"},
        {"filename": "a-3-py3-none-any.whl", "url": "x", "hashes": {"sha256": "cc"}, "yanked": True},
    ],
}
HTML = """<!DOCTYPE html><html><body><h1>Links for a</h1>
<a href="../../a-1-py3-none-any.whl#sha256=aa">a-1-py3-none-any.whl</a>
<a href="https://index.example/a-2%2Bcpu-py3-none-any.whl#sha256=bb" data-yanked="broken">a</a>
<a href="a-3-py3-none-any.whl#sha256=cc" data-yanked>a</a>
<a href="a-4-py3-none-any.whl">without a hash</a>
</body></html>"""


def _reply(
    status: int, text: str = "", kind: str = "application/vnd.pypi.simple.v1+json"
) -> requests.Response:
    reply = requests.Response()
    reply.status_code = status
    reply._content = text.encode()
    reply.headers["Content-Type"] = kind
    return reply


class Network:
    """Answers what a test has put in for each URL: replies or failures, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[requests.Response | Exception]] = {}
        self.asked: list[str] = []
        self.options: dict[str, Any] = {}

    def __call__(self, _: requests.Session, url: str, **options: Any) -> requests.Response:
        self.asked.append(url)
        self.options = options
        known = self.answers[url]
        answer = known.pop(0) if len(known) > 1 else known[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(requests.Session, "get", lambda *a, **o: network(*a, **o))
    monkeypatch.setattr(PackageIndex._get.retry, "wait", wait_none())  # type: ignore[attr-defined]
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@one.example/simple/")
    return network


ONE = "https://user:secret@one.example/simple/a/"


def test_files_their_hashes_and_what_was_withdrawn_are_read(network: Network) -> None:
    network.answers = {ONE: [_reply(200, json.dumps(PAGE))]}
    assert PackageIndex().files("a") == [
        IndexFile(filename="a-1-py3-none-any.whl", sha256="aa"),
        IndexFile(filename="a-2-py3-none-any.whl", sha256="bb", yanked="broken"),
        IndexFile(filename="a-3-py3-none-any.whl", sha256="cc", yanked=""),
    ]


def test_an_index_that_only_has_pages_for_people_is_read_too(network: Network) -> None:
    network.answers = {ONE: [_reply(200, HTML, "text/html; charset=utf-8")]}
    assert PackageIndex().files("a") == [
        IndexFile(filename="a-1-py3-none-any.whl", sha256="aa"),
        IndexFile(filename="a-2+cpu-py3-none-any.whl", sha256="bb", yanked="broken"),
        IndexFile(filename="a-3-py3-none-any.whl", sha256="cc", yanked=""),
    ]


def test_every_configured_index_is_asked(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/simple")
    network.answers = {
        ONE: [_reply(404)],
        "https://two.example/simple/a/": [_reply(200, json.dumps(PAGE))],
    }
    assert len(PackageIndex().files("a")) == 3


def test_a_project_that_is_on_no_index_has_no_files(network: Network) -> None:
    network.answers = {ONE: [_reply(404)]}
    assert PackageIndex().files("a") == []
    assert len(network.asked) == 1


@pytest.mark.parametrize(
    "trouble", [requests.ConnectionError(), requests.Timeout(), _reply(503), _reply(429)], ids=repr
)
def test_a_server_that_answers_in_the_end_was_only_busy(
    network: Network, trouble: requests.Response | Exception
) -> None:
    network.answers = {ONE: [trouble, trouble, trouble, _reply(200, json.dumps(PAGE))]}
    assert len(PackageIndex().files("a")) == 3


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda: requests.ConnectTimeout(), "ConnectTimeout"),
        (lambda: _reply(502), "HTTP 502"),
        (lambda: _reply(403), "HTTP 403"),
        (lambda: _reply(200, "<html>a login page"), "JSONDecodeError"),
        (lambda: _reply(200, '{"error": "x"}'), "KeyError"),
    ],
)
def test_no_answer_is_not_the_same_as_no_file(
    network: Network, trouble: Callable[[], requests.Response | Exception], words: str
) -> None:
    network.answers = {ONE: [trouble()]}
    with pytest.raises(Unreachable) as failure:
        PackageIndex().files("a")
    assert failure.value.message == f"the index one.example gave no answer: {words}"  # and no password
    assert "PIP_INDEX_URL" in str(failure.value.hint)


def test_uv_asks_the_indexes_that_pip_is_configured_with(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uv_environment() == {}
    monkeypatch.setenv("PIP_INDEX_URL", "https://one.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/a https://two.example/b")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "two.example")
    assert uv_environment() == {
        "UV_DEFAULT_INDEX": "https://one.example/simple",
        "UV_INDEX": "https://two.example/a https://two.example/b",
        "UV_INSECURE_HOST": "two.example",
    }


def test_the_default_index_stands_in_where_none_is_configured() -> None:
    assert configured_indexes() == ([default_index()], [])


def test_certificates_are_checked_unless_a_host_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(indexes, "find_ca_bundle", lambda _: None)
    assert certificates_for("https://one.example/x", []) is True
    assert certificates_for("https://one.example:8443/x", ["one.example:8443"]) is False
    assert certificates_for("https://two.example/x", ["one.example"]) is True
    monkeypatch.setattr(indexes, "find_ca_bundle", lambda _: tmp_path / "ca.pem")
    assert certificates_for("https://one.example/x", []) == str(tmp_path / "ca.pem")
