"""What a registry's answers mean, from one that hands out tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import requests
from docker import auth

from tritonbuild import registrysession
from tritonbuild.errors import RegistryFailed, RegistryRefused, Unreachable
from tritonbuild.registrysession import Session

HOST = "registry.example"
CHALLENGE = f'Bearer realm="https://{HOST}/token",service="{HOST}",scope="repository:team/x:pull,push"'


def answer(status: int, content: bytes = b"{}", **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response._content = status, content
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


class Registry:
    """Answers requests without a network; a token is good for ``lifetime`` requests."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime, self.left = lifetime, 0
        self.tokens = itertools.count(1)
        self.token = ""
        self.handed_out = 0
        self.next_answers: list[requests.Response | Exception] = []

    def __call__(self, _: object, method: str, url: str, **arguments: Any) -> requests.Response:
        headers = {name.lower(): value for name, value in (arguments.get("headers") or {}).items()}
        if url.startswith(f"https://{HOST}/token"):
            self.token, self.left = f"token{next(self.tokens)}", self.lifetime
            self.handed_out += 1
            return answer(200, f'{{"token": "{self.token}"}}'.encode())
        if self.left <= 0 or headers.get("authorization") != f"Bearer {self.token}":
            return answer(401, Www_Authenticate=CHALLENGE)
        self.left -= 1
        if self.next_answers:
            given = self.next_answers.pop(0)
            if isinstance(given, Exception):
                raise given
            return given
        return answer(200, method.encode())


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], tuple[Registry, Session]]:
    """A function that returns a registry and a session with it."""

    def begin(lifetime: int) -> tuple[Registry, Session]:
        registry = Registry(lifetime)
        monkeypatch.setattr(requests.Session, "request", lambda *given, **named: registry(*given, **named))
        monkeypatch.setattr(requests, "get", lambda url, **named: registry(None, "GET", url, **named))
        credentials = auth.AuthConfig({"auths": {HOST: {"username": "me", "password": "mine"}}})
        monkeypatch.setattr(registrysession, "load_config", lambda: credentials)
        return registry, Session(HOST, "team/x", attempts=3, wait=0)

    return begin


Start = Callable[[int], tuple[Registry, Session]]


def test_a_token_that_expires_is_replaced_by_a_new_one(start: Start) -> None:
    registry, session = start(2)
    for _ in range(7):
        found = session.ask("GET", "manifests/x")
        assert found is not None
        assert found.content == b"GET"
    assert registry.handed_out >= 4


def test_a_token_that_never_works_is_a_refusal_with_a_remedy(start: Start) -> None:
    _, session = start(0)
    with pytest.raises(RegistryRefused) as refusal:
        session.ask("PUT", "manifests/x", data=b"")
    assert str(refusal.value.hint).startswith(f"docker login {HOST}")
    assert "mine" not in refusal.value.message


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_asked_for_again(start: Start, status: int) -> None:
    registry, session = start(100)
    registry.next_answers = [answer(status), requests.ConnectionError("reset")]
    found = session.ask("GET", "manifests/x")
    assert found is not None
    assert found.ok


def test_what_does_not_pass_is_unreachable_and_not_absent(start: Start) -> None:
    registry, session = start(100)
    registry.next_answers = [answer(503)] * 3
    with pytest.raises(Unreachable, match="503 to GET manifests/x, 3 times in a row"):
        session.ask("GET", "manifests/x")


def test_absent_is_none(start: Start) -> None:
    registry, session = start(100)
    registry.next_answers = [answer(404)]
    assert session.ask("GET", "manifests/x") is None


def test_a_refusal_says_why(start: Start) -> None:
    registry, session = start(100)
    # oras asks for a new token and tries again, twice
    registry.next_answers = [answer(403, b'{"errors": [{"code": "DENIED", "message": "not yours"}]}')] * 3
    with pytest.raises(RegistryRefused, match="refuses PUT for team/x: not yours"):
        session.ask("PUT", "manifests/x", data=b"")


def test_any_other_answer_is_a_failure(start: Start) -> None:
    registry, session = start(100)
    registry.next_answers = [answer(400, b'{"errors": [{"code": "MANIFEST_INVALID"}]}')]
    with pytest.raises(RegistryFailed, match="answers 400 to PUT: MANIFEST_INVALID"):
        session.ask("PUT", "manifests/x", data=b"")


def test_a_helper_that_is_missing_is_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    _, session = start(100)
    monkeypatch.setattr(
        registrysession, "load_config", lambda: auth.AuthConfig({"credHelpers": {HOST: "there-is-none"}})
    )
    with pytest.raises(RegistryRefused, match=f"credentials for {HOST} cannot be read"):
        session.ask("GET", "manifests/x")
