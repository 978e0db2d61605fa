"""What a build step may use but must not keep: certificates, index settings, passwords."""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from tritonbuild.errors import UsageError
from tritonbuild.files import write_atomic

_SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def find_ca_bundle(given: Path | None) -> Path | None:
    """Return the certificates a build should trust: as given, as the environment says, the system's."""
    if given:
        return given
    for variable in _CA_VARIABLES:
        value = os.environ.get(variable)
        if value and Path(value).is_file():
            return Path(value)
    return _SYSTEM_CAS if _SYSTEM_CAS.is_file() else None


def _pip_files() -> list[Path]:
    named = os.environ.get("PIP_CONFIG_FILE")
    home = Path.home()
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    return [*files, Path(named)] if named else files


def index_settings() -> dict[str, str | list[str]]:
    """Return uv settings for the package index, read from pip's and uv's own configuration.

    Indexes on the local disk are left out: a build container does not see them.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(_pip_files(), encoding="utf-8")
    except configparser.Error as error:
        message = f"pip's configuration cannot be read: {str(error).splitlines()[0]}"
        raise UsageError(message, hint="correct the file, or name another with PIP_CONFIG_FILE") from error
    section: Mapping[str, str] = parser["global"] if parser.has_section("global") else {}

    def read(*variables: str, key: str) -> str:
        for variable in variables:
            if os.environ.get(variable):
                return os.environ[variable]
        return section.get(key, "")

    settings: dict[str, str | list[str]] = {}
    index = read("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", key="index-url")
    if index and not index.startswith("file:"):
        settings["index-url"] = index
    for name, value in (
        (
            "extra-index-url",
            read("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL", key="extra-index-url"),
        ),
        ("allow-insecure-host", read("UV_INSECURE_HOST", "PIP_TRUSTED_HOST", key="trusted-host")),
    ):
        # uv allows an index to have a name: name=https://...
        urls = [re.sub(r"^[A-Za-z0-9_-]+=", "", word) for word in value.split()]
        words = [url for url in urls if not url.startswith("file:")]
        if words:
            settings[name] = words
    return settings


def collect_secrets(folder: Path, *, ca_cert: Path | None, given: Mapping[str, Path]) -> dict[str, Path]:
    """Return secret id -> file; files that have to be made are written to ``folder``, mode 600."""
    secrets: dict[str, Path] = {}
    bundle = find_ca_bundle(ca_cert)
    if bundle:
        secrets["ca"] = bundle
    settings = index_settings()
    if settings:
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        write_atomic(folder / "uv.toml", text, mode=0o600)
        secrets["uv.toml"] = folder / "uv.toml"
    netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if netrc.is_file():
        secrets["netrc"] = netrc
    secrets.update(given)
    return secrets


def check_secret_file(flag: str, path: Path) -> Path:
    """Return ``path`` when BuildKit can take it as a secret; raise UsageError otherwise."""
    if not path.is_file():
        message = f"{flag}: {path} is not a file"
        raise UsageError(message, hint="name an existing file")
    if "," in str(path.resolve()):
        message = f"{flag}: the path {path.resolve()} has a comma, which BuildKit takes for a separator"
        raise UsageError(message, hint="move the file")
    return path.resolve()
