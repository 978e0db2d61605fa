"""A registry with TLS and passwords: who gets in, and that nobody sees what he came with."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.daemon.registry import Lock, Registry, running_registry
from tests.release.conftest import Release
from tests.release.nursery import Ending
from tests.release.test_release import TAGS

USER, SECRET = "releaser", "planted-6d1c0f2e9b"
# The same as bcrypt has it, at its lowest cost.
HTPASSWD = f"{USER}:$2y$04$abcdefghijklmnopqrstuusUWUgICxbAubT4Bn9knNuRITnlRJwQa\n"
BASIC = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Vault:
    """A registry that only the right password opens, and a release to it."""

    folder: Path
    registry: Registry
    release: Release

    @property
    def signing_key(self) -> Path:
        return self.folder / "sign.pem"

    def config(self, **content: object) -> dict[str, str]:
        """Return the environment of somebody with this configuration of Docker."""
        folder = self.folder / "docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(content))
        return {
            "DOCKER_CONFIG": str(folder),
            "REQUESTS_CA_BUNDLE": str(self.folder / "tls.pem"),
            "PATH": f"{self.folder}:{os.environ['PATH']}",
        }

    def run(self, environment: dict[str, str], *arguments: str) -> Ending:
        words = ("release", "24.08-cpu-pypi", "--registry", self.release.name, *arguments)
        return self.command(environment, *words, "--build-dir", str(self.release.build_dir))

    def command(self, environment: dict[str, str], *words: str) -> Ending:
        folder = self.release.runs / f"run{len(list(self.release.runs.iterdir()))}"
        folder.mkdir()
        settings = {"image": self.release.image}
        return self.release.nursery.start(folder, words, settings, **environment).wait()


@pytest.fixture
def vault(
    engine: docker.DockerClient,
    new_release: Callable[..., Release],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Vault]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = Lock(tmp_path / "tls.pem", tmp_path / "tls.key", tmp_path / "htpasswd")
    lock.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    lock.key.write_bytes(_pem(key))
    lock.htpasswd.write_text(HTPASSWD)
    signing = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "sign.pem").write_bytes(_pem(signing))
    public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "sign.pub").write_bytes(public)
    helper = tmp_path / "docker-credential-planted"
    helper.write_text(
        "#!/bin/sh\ncat >/dev/null\n"
        f"""echo '{{"ServerURL": "", "Username": "{USER}", "Secret": "{SECRET}"}}'\n"""
    )
    helper.chmod(0o755)
    with running_registry(engine, tmp_path_factory.mktemp("vault"), lock) as registry:
        yield Vault(tmp_path, registry, new_release(to=registry))


@contextmanager
def watching_arguments() -> Iterator[set[bytes]]:
    """Collect the command lines of every process of this machine that is seen meanwhile."""
    seen: set[bytes] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with suppress(OSError):
                        seen.add((entry / "cmdline").read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def files_with(folder: Path, secrets: list[bytes]) -> list[Path]:
    """Return the files that hold any of the secrets, also where they are compressed."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            if data[:2] == b"\x1f\x8b":
                data += zlib.decompress(data, 16 + zlib.MAX_WBITS)
            found += [file for secret in secrets if secret in data]
    return found


@pytest.mark.parametrize("kept", ["helper", "store", "configuration"])
def test_docker_s_credentials_open_the_registry_and_are_seen_nowhere(vault: Vault, kept: str) -> None:
    host = vault.registry.host
    environment = vault.config(
        **{
            "helper": {"credHelpers": {host: "planted"}},
            "store": {"credsStore": "planted"},
            "configuration": {"auths": {host: {"auth": BASIC}}},
        }[kept]
    )
    with watching_arguments() as commands:
        ending = vault.run(environment, "--sign-key", str(vault.signing_key), "--verbose")
    assert ending.code == 0, ending.err
    name = vault.release.name
    for tag in TAGS:
        verified = vault.command(
            environment, "verify", f"{name}:{tag}", "--key", str(vault.folder / "sign.pub")
        )
        assert verified.code == 0, verified.err
    assert any(b"docker-registry" in command for command in commands), "nothing was watched"
    key = vault.signing_key.read_text().splitlines()
    secrets = [text.encode() for text in (SECRET, BASIC, *key[1:-1])]
    for secret in secrets:
        assert not [command for command in commands if secret in command]
    for folder in (vault.release.build_dir, vault.release.runs, vault.registry.storage):
        assert any(file.is_file() for file in folder.rglob("*"))
        assert files_with(folder, secrets) == []
    image = vault.release.client.images.get(vault.release.image_id)
    told = json.dumps([image.attrs, image.history()]).encode()
    assert not [secret for secret in secrets if secret in told]


def test_the_search_for_secrets_finds_one(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x" + SECRET.encode())
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    (tmp_path / "layer").write_bytes(packer.compress(BASIC.encode()) + packer.flush())
    assert len(files_with(tmp_path, [SECRET.encode(), BASIC.encode()])) == 2


@pytest.mark.parametrize(
    "content",
    [
        lambda host: {},
        lambda host: {"auths": {host: {"auth": base64.b64encode(b"releaser:wrong-one").decode()}}},
    ],
    ids=["no password", "a wrong password"],
)
def test_who_has_no_password_is_told_how_to_get_in(
    vault: Vault, content: Callable[[str], dict[str, object]]
) -> None:
    host = vault.registry.host
    ending = vault.run(vault.config(**content(host)))
    assert ending.code == 21
    assert len(ending.errors) == 1
    assert ending.hints[0].startswith(f"docker login {host}")
    assert "wrong-one" not in ending.err


def test_a_certificate_that_is_not_trusted_is_named(vault: Vault) -> None:
    environment = vault.config(auths={vault.registry.host: {"auth": BASIC}})
    ending = vault.run({**environment, "REQUESTS_CA_BUNDLE": ""})
    assert ending.code == 15
    assert "certificate" in ending.errors[0]
