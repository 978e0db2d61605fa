"""Indexes, wheels and the clock, with a stand-in for the network."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tritonbuild import reaching
from tritonbuild.indexes import default_index
from tritonbuild.reaching import (
    Answer,
    ask,
    ask_indexes,
    check_clock,
    check_indexes,
    check_wheels,
)
from tritonbuild.spec import BuildSpec

NOW = dt.datetime(2026, 10, 1, 12, 0, tzinfo=dt.timezone.utc)


class Network:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statuses: dict[str, int] = {}
        self.asked: list[tuple[str, str, Any]] = []
        for name in ("head", "get"):
            monkeypatch.setattr(
                reaching.requests, name, lambda url, name=name, **o: self._reply(name, url, o)
            )

    def _reply(self, name: str, url: str, options: Any) -> Any:
        self.asked.append((name, url, options))
        host = url.split("/")[2].rpartition("@")[2]
        if host not in self.statuses:
            raise requests.ConnectTimeout(url)
        status = 200 if name == "get" and self.statuses[host] == 405 else self.statuses[host]
        return SimpleNamespace(status_code=status, headers={"Date": "x"}, close=lambda: None)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def test_the_indexes_of_pips_configuration_are_asked(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@one.example/simple/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/simple")
    network.statuses = {"one.example": 404, "two.example": 200}
    answers = ask_indexes("vllm")
    assert [url for _, url, _ in network.asked] == [
        "https://user:secret@one.example/simple/vllm/",
        "https://two.example/simple/vllm/",
    ]
    findings = check_indexes("vllm", answers)
    assert [finding.level for finding in findings] == ["ok", "ok"]
    assert "secret" not in "".join(finding.line for finding in findings)


def test_the_default_index_is_asked_where_nothing_is_configured(network: Network) -> None:
    host = urlsplit(default_index()).netloc
    network.statuses = {host: 200}
    assert check_indexes("vllm", ask_indexes("vllm"))[0].message == f"{host} answers and has vllm"


def test_no_answer_is_waited_for_long(network: Network) -> None:
    network.statuses = {urlsplit(default_index()).netloc: 200}
    ask_indexes("vllm")
    assert sum(network.asked[0][2]["timeout"]) <= 15


def test_an_index_that_knows_only_get_is_asked_so(network: Network) -> None:
    network.statuses = {"one.example": 405}
    assert ask("https://one.example/simple/vllm/").status == 200
    assert [name for name, _, _ in network.asked] == ["head", "get"]


def test_a_host_that_pip_trusts_is_not_verified(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://one.example:8443/simple")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "one.example")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/simple")
    ask_indexes("vllm")
    assert [options["verify"] is False for _, _, options in network.asked] == [True, False]


@pytest.mark.parametrize(
    ("status", "words", "remedy"),
    [
        (None, "index.example cannot be reached (ConnectTimeout)", "PIP_INDEX_URL"),
        (401, "refuses with HTTP 401", "~/.netrc"),
        (404, "has no vllm", "PIP_EXTRA_INDEX_URL"),
        (503, "HTTP 503", "later"),
    ],
)
def test_an_index_that_cannot_serve_is_a_problem(status: int | None, words: str, remedy: str) -> None:
    answer = Answer(url="https://index.example/simple/vllm/", status=status, reason="ConnectTimeout")
    [finding] = check_indexes("vllm", [answer])
    assert finding.level == "problem"
    assert words in finding.message
    assert remedy in str(finding.remedy)


def test_a_wheel_that_is_here_is_not_asked_for(network: Network, cpu: BuildSpec, tmp_path: Path) -> None:
    [wheel] = cpu.engine.wheels
    (tmp_path / wheel.filename).touch()
    [finding] = check_wheels([wheel], [tmp_path])
    assert (finding.level, network.asked) == ("ok", [])


def test_a_wheel_that_cannot_be_downloaded_names_its_file(
    network: Network, cpu: BuildSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reaching, "BUILD", tmp_path)
    [wheel] = cpu.engine.wheels
    [finding] = check_wheels([wheel], [])
    assert finding.level == "problem"
    assert wheel.filename in str(finding.remedy)
    network.statuses = {"download.pytorch.org": 200}
    assert check_wheels([wheel], [])[0].level == "ok"


@pytest.mark.parametrize(
    ("seconds", "age", "level", "words"),
    [
        (0, None, "ok", "agrees"),
        (59, None, "ok", "agrees"),
        (-59, None, "ok", "agrees"),
        (120, None, "warning", "is 120 s behind index.example"),
        (-120, None, "warning", "is 120 s ahead of index.example"),
        (-7200, None, "problem", "is 7200 s ahead of"),
        (-7200, "7200", "ok", "agrees"),  # a cached answer: its time, or its time and age, is now
        (0, "7200", "ok", "agrees"),
        (-9000, "7200", "warning", "is 1800 s ahead of"),
    ],
)
def test_the_clock_is_compared_with_an_index(seconds: int, age: str | None, level: str, words: str) -> None:
    date = (NOW + dt.timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    [finding] = check_clock([Answer(url="https://index.example/", status=200, date=date, age=age)], NOW)
    assert finding.level == level
    assert words in finding.message


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 01 Oct 2026 12:00:00"])
def test_a_clock_that_nothing_is_known_of_is_not_called_right(date: str | None) -> None:
    [finding] = check_clock([Answer(url="https://index.example/", date=date)], NOW)
    assert finding.level == "warning"
