"""Requests to a repository in a registry: signing in, retries, and what an answer means.

Signing in is done by oras, with what Docker's own configuration and credential helpers have, so a password
is never an argument of ours.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import requests
import tenacity
from docker.auth import load_config
from docker.errors import DockerException

from tritonbuild.errors import RegistryFailed, RegistryRefused, Unreachable

if TYPE_CHECKING:
    from oras.provider import Registry as Provider

# What passes by itself: too many requests, and a server or proxy in trouble.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LOCAL = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")
_TIMEOUT = (10, 120)

T = TypeVar("T")


class Passing(Exception):
    """An answer that may be another one when it is asked for again."""


class Session:
    """Asks one repository.

    Raises RegistryRefused when the registry does not let us, RegistryFailed when it cannot do what was
    asked, and Unreachable when it gives no answer after several attempts with growing pauses.
    """

    def __init__(self, host: str, path: str, *, attempts: int, wait: float) -> None:
        """``wait`` is the first pause between attempts, in seconds."""
        self.host, self.path = host, path
        self._attempts, self._wait = attempts, wait
        self._provider: Provider | None = None

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response | None:
        """Return the registry's answer, None when it has no such thing."""
        return self.attempt(lambda: self.once(method, path, **arguments))

    def attempt(
        self,
        work: Callable[[], T],
        passing: tuple[type[Exception], ...] = (),
        attempts: int | None = None,
    ) -> T:
        """Do ``work``, again where it fails in a way that passes: as connections do, or with one of ``passing``.

        At most ``attempts`` times, where fewer are wanted than there would be.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(
                (Passing, requests.ConnectionError, requests.Timeout, *passing)
            ),
            stop=tenacity.stop_after_attempt(min(self._attempts, attempts or self._attempts)),
            wait=tenacity.wait_exponential_jitter(
                multiplier=self._wait, max=30 * self._wait, jitter=self._wait
            ),
            reraise=True,
        )
        try:
            return retrying(work)
        except Passing as error:
            message = f"{self.host} answers {error}, {self._attempts} times in a row"
            raise Unreachable(message, hint="try again when the registry is well") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            message = f"{self.host} cannot be reached: {_reason(error)}"
            raise Unreachable(message, hint="check the name, the network, proxy and certificates") from error
        except requests.RequestException as error:
            message = f"{self.host}: {_reason(error)}"
            raise RegistryFailed(
                message, hint="run it again with --debug and report the traceback"
            ) from error

    def once(self, method: str, path: str, **arguments: Any) -> requests.Response | None:
        """Ask a single time, below the repository's own address or at a URL; see ``ask``."""
        url = path if path.startswith("http") else f"{self._base()}/v2/{self.path}/{path}"
        answer = self._send(url, method, **arguments)
        if answer.status_code == requests.codes.unauthorized and self._forget_token():
            answer = self._send(url, method, **arguments)
        if answer.status_code == requests.codes.not_found:
            return None
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            message = f"{self.host} refuses {method} for {self.path}: {_error_text(answer)}"
            raise RegistryRefused(
                message, hint=f"docker login {self.host}, with an account that may push there"
            )
        if answer.status_code in _PASSING:
            text = f"{answer.status_code} to {method} {path.partition('?')[0]}"
            raise Passing(text)
        if not answer.ok:
            message = f"{self.host} answers {answer.status_code} to {method}: {_error_text(answer)}"
            raise RegistryFailed(
                message, hint="check that the registry takes OCI images of this size and kind"
            )
        return answer

    def _base(self) -> str:
        if self._provider is None:
            self._provider = self._sign_in()
        return f"{self._provider.prefix}://{self.host}"

    def _forget_token(self) -> bool:
        """Drop a token that the registry takes no longer; tell whether there was one."""
        auth = self._provider.auth if self._provider else None
        had = bool(getattr(auth, "token", None))
        if had:
            auth.token = None  # type: ignore[union-attr]
        return had

    def _send(self, url: str, method: str, **arguments: Any) -> requests.Response:
        provider = self._provider
        assert provider is not None  # noqa: S101  (_base made it)
        try:
            # Without oras's own retries, which take the same pauses for every kind of failure.
            answer: requests.Response = type(provider).do_request.__wrapped__(
                provider, url, method, **arguments
            )
        except ValueError as error:
            if isinstance(error, requests.RequestException):
                raise
            # What oras says when it has nothing to answer a challenge with.
            message = f"{self.host} wants a password for {self.path}, and Docker has none that it takes"
            raise RegistryRefused(message, hint=f"docker login {self.host}") from error
        return answer

    def _sign_in(self) -> Provider:
        """Return a session with the credentials that Docker has for the host."""
        from oras.auth import get_auth_backend
        from oras.provider import Registry as Provider

        insecure = bool(_LOCAL.fullmatch(self.host)) and not _speaks_tls(self.host)
        challenge = requests.get(
            f"{'http' if insecure else 'https'}://{self.host}/v2/", timeout=_TIMEOUT
        ).headers.get("Www-Authenticate", "")
        kind = "basic" if challenge.lower().startswith("basic") else "token"
        provider = Provider(self.host, insecure=insecure)
        provider.session.request = partial(provider.session.request, timeout=_TIMEOUT)
        provider.auth = get_auth_backend(kind, provider.session, insecure)
        credentials = _find_credentials(self.host)
        if credentials:
            provider.auth.set_basic_auth(*credentials)
        elif kind == "basic":
            message = f"{self.host} wants a password, and Docker has none for it"
            raise RegistryRefused(message, hint=f"docker login {self.host}")
        return provider


def _find_credentials(host: str) -> tuple[str, str] | None:
    """Return name and password that Docker's configuration, or a helper that it names, has for a registry."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing helper, which is an error anyway
            found = load_config().resolve_authconfig(host) or {}
    except DockerException as error:
        message = f"Docker's credentials for {host} cannot be read: {_reason(error)}"
        raise RegistryRefused(
            message, hint="check the credential helpers of Docker's configuration"
        ) from error
    # What comes from a helper is spelt otherwise than what stands in the file.
    known = {key.lower(): value for key, value in found.items()}
    return (known["username"], known["password"]) if known.get("password") else None


def _speaks_tls(host: str) -> bool:
    try:
        requests.get(f"https://{host}/v2/", timeout=_TIMEOUT)
    except requests.exceptions.SSLError as error:
        # A certificate that is not trusted is still TLS.
        return "CERTIFICATE" in str(error).upper()
    except requests.RequestException:
        return False
    return True


def _error_text(answer: requests.Response) -> str:
    """Return the registry's reason in one line; never what was sent to it."""
    try:
        errors = answer.json()["errors"]
        return "; ".join(str(error.get("message") or error.get("code")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.reason or str(answer.status_code)


def _reason(error: Exception) -> str:
    """Return why a connection failed, without the classes that wrap one another."""
    text = str(error)
    found = re.search(r"\[(?:Errno [^\]]*|SSL: [A-Z_]+)\] ([^'\"()]+)", text)
    return found[1].strip() if found else (text.splitlines() or [type(error).__name__])[0][:160]
