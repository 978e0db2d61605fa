from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tritonbuild.errors import NotTrusted, UsageError
from tritonbuild.signing import is_signed, read_public_key, read_signer, seal, unseal

STATEMENT = {"subject": [{"name": "x"}], "predicateType": "y"}


@pytest.fixture(params=["ed25519", "ecdsa"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The files of a private and its public key."""
    ed = request.param == "ed25519"
    key = ed25519.Ed25519PrivateKey.generate() if ed else ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_signed_statement_is_read_back_with_the_public_key(keys: tuple[Path, Path]) -> None:
    private, public = keys
    envelope = seal(STATEMENT, read_signer(private))
    assert is_signed(envelope)
    assert unseal(envelope, read_public_key(public)) == STATEMENT


def test_one_changed_letter_of_the_statement_is_noticed(keys: tuple[Path, Path]) -> None:
    private, public = keys
    envelope = json.loads(seal(STATEMENT, read_signer(private)))
    payload = base64.b64decode(envelope["payload"]).replace(b'"x"', b'"z"')
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(NotTrusted, match="signed by another key"):
        unseal(json.dumps(envelope).encode(), read_public_key(public))


def test_unsigned_statement_is_taken_without_a_key_only(keys: tuple[Path, Path]) -> None:
    envelope = seal(STATEMENT, None)
    assert not is_signed(envelope)
    assert unseal(envelope, None) == STATEMENT
    with pytest.raises(NotTrusted, match="is not signed"):
        unseal(envelope, read_public_key(keys[1]))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"payload": "e30=", "payloadType": "x"}'])
def test_what_is_no_envelope_is_not_trusted(data: bytes) -> None:
    with pytest.raises(NotTrusted):
        unseal(data, None)


def test_files_that_hold_no_key_are_named(tmp_path: Path) -> None:
    file = tmp_path / "no-key.pem"
    file.write_text("nothing\n")
    for read in (read_signer, read_public_key):
        with pytest.raises(UsageError, match=r"no-key.pem holds no"):
            read(file)
        with pytest.raises(UsageError, match=r"absent.pem holds no"):
            read(tmp_path / "absent.pem")
