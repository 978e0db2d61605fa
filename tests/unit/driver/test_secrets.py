"""What build steps may use but an image must not keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tritonbuild import secrets
from tritonbuild.buildkit import Builder, build_argv
from tritonbuild.errors import UsageError
from tritonbuild.secrets import check_secret_file, collect_secrets, find_ca_bundle, index_settings

PASSWORD = "hunter2"
INDEX = f"https://user:{PASSWORD}@index.example/simple"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No system-wide settings; a home that a test may fill."""
    home = tmp_path / "user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(secrets, "_SYSTEM_CAS", tmp_path / "no-cas.crt")
    real = secrets._pip_files
    monkeypatch.setattr(secrets, "_pip_files", lambda: [p for p in real() if p != Path("/etc/pip.conf")])
    return home


def _collect(folder: Path, **given: Any) -> dict[str, Path]:
    return collect_secrets(folder, **{"ca_cert": None, "given": {}, **given})


def test_a_bare_machine_has_no_secrets(tmp_path: Path) -> None:
    assert _collect(tmp_path / "s") == {}
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_the_index_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, INDEX)
    found = _collect(tmp_path / "s")
    assert found["uv.toml"].read_text(encoding="utf-8") == f'index-url = "{INDEX}"\n'


def test_uvs_own_settings_come_before_pips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    monkeypatch.setenv("UV_INDEX_URL", "https://uv.example/simple")
    assert index_settings() == {"index-url": "https://uv.example/simple"}


def test_several_values_become_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://one.example/s https://two.example/s")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "one.example")
    settings = {
        "extra-index-url": ["https://one.example/s", "https://two.example/s"],
        "allow-insecure-host": ["one.example"],
    }
    assert index_settings() == settings
    text = _collect(tmp_path / "s")["uv.toml"].read_text(encoding="utf-8")
    if sys.version_info >= (3, 11):
        import tomllib

        assert tomllib.loads(text) == settings


@pytest.mark.parametrize("place", [".pip/pip.conf", ".config/pip/pip.conf", "elsewhere.conf"])
def test_pip_conf_is_read(monkeypatch: pytest.MonkeyPatch, bare_machine: Path, place: str) -> None:
    file = bare_machine / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "[global]\nindex-url = https://a%40b:c@index.example/simple\n"
        "extra-index-url =\n    https://one.example/s\n    https://two.example/s\n",
        encoding="utf-8",
    )
    if place == "elsewhere.conf":
        monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    assert index_settings() == {
        "index-url": "https://a%40b:c@index.example/simple",
        "extra-index-url": ["https://one.example/s", "https://two.example/s"],
    }


def test_the_environment_comes_before_pip_conf(monkeypatch: pytest.MonkeyPatch, bare_machine: Path) -> None:
    (bare_machine / ".pip").mkdir()
    (bare_machine / ".pip/pip.conf").write_text(
        "[global]\nindex-url = https://file.example\n", encoding="utf-8"
    )
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example")
    assert index_settings() == {"index-url": "https://env.example"}


def test_indexes_on_the_local_disk_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "file:///srv/index")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///srv/more https://one.example/s")
    assert index_settings() == {"extra-index-url": ["https://one.example/s"]}


def test_only_the_owner_can_read_what_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    assert _collect(tmp_path / "s")["uv.toml"].stat().st_mode & 0o777 == 0o600


def test_a_value_cannot_add_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", 'https://x.example"\nnative-tls = true\n#')
    text = _collect(tmp_path / "s")["uv.toml"].read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1


def test_passwords_never_stand_in_a_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@proxy.example:3128")
    token = tmp_path / "token"
    token.write_text(PASSWORD, encoding="utf-8")
    found = _collect(tmp_path / "s", given={"token": token})
    argv = build_argv(
        Builder(("docker", "build")),
        context=tmp_path,
        build_args={},
        labels={},
        secrets=found,
        iidfile=tmp_path / "iid",
    )
    assert PASSWORD not in " ".join(argv)
    assert f"id=uv.toml,src={found['uv.toml']}" in argv
    assert f"id=token,src={token}" in argv
    assert "HTTPS_PROXY" in argv  # by name only: docker takes the value from its environment


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv(variable, str(bundle))
    assert find_ca_bundle(None) == bundle
    assert _collect(tmp_path / "s") == {"ca": bundle}


def test_given_certificates_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given, other = tmp_path / "given.pem", tmp_path / "other.pem"
    given.touch()
    other.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert find_ca_bundle(given) == given


def test_the_systems_certificates_come_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    system = tmp_path / "system.crt"
    system.touch()
    monkeypatch.setattr(secrets, "_SYSTEM_CAS", system)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    assert find_ca_bundle(None) == system


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--ca-cert: .*gone is not a file"):
        check_secret_file("--ca-cert", tmp_path / "gone")


def test_files_that_buildkit_would_misread_are_named(tmp_path: Path) -> None:
    (tmp_path / "a,b").touch()
    with pytest.raises(UsageError, match=r"--ca-cert: .*a,b has a comma"):
        check_secret_file("--ca-cert", tmp_path / "a,b")


def test_netrc_is_handed_on(monkeypatch: pytest.MonkeyPatch, bare_machine: Path, tmp_path: Path) -> None:
    (bare_machine / ".netrc").touch()
    assert _collect(tmp_path / "s") == {"netrc": bare_machine / ".netrc"}
    named = tmp_path / "netrc"
    named.touch()
    monkeypatch.setenv("NETRC", str(named))
    assert _collect(tmp_path / "s") == {"netrc": named}


def test_given_secrets_are_handed_on_by_name(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch()
    assert _collect(tmp_path / "s", given={"token": token}) == {"token": token}
