"""Signed statements: in-toto's inside DSSE envelopes, with a key of the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonbuild.errors import NotTrusted, UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
_HOW = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"


def read_signer(path: Path) -> CryptoSigner:
    """Return what signs with a private key in a PEM file without a password (PKCS 8)."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), password=None))
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} holds no private key that can sign: {_first_line(error)}"
        raise UsageError(message, hint=_HOW) from error


def read_public_key(path: Path) -> SSlibKey:
    """Return the public key in a PEM file."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError) as error:
        message = f"{path} holds no public key: {_first_line(error)}"
        raise UsageError(
            message, hint="take it from the private one: openssl pkey -in key.pem -pubout"
        ) from error


def seal(statement: dict[str, Any], signer: CryptoSigner | None) -> bytes:
    """Return the statement in an envelope, signed where there is a key."""
    from securesystemslib.dsse import Envelope

    payload = json.dumps(statement, sort_keys=True).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    if signer is not None:
        envelope.sign(signer)
    return json.dumps(envelope.to_dict(), sort_keys=True).encode()


def unseal(data: bytes, key: SSlibKey | None) -> dict[str, Any]:
    """Return an envelope's statement; raise NotTrusted unless ``key``, where one is given, signed it."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    try:
        envelope = Envelope.from_dict(json.loads(data))
        statement: dict[str, Any] = json.loads(envelope.payload)
    except (KeyError, TypeError, ValueError) as error:
        message = f"the provenance is no envelope with a statement: {_first_line(error)}"
        raise NotTrusted(message, hint="release the image again") from error
    if key is not None:
        try:
            envelope.verify([key], 1)
        except VerificationError as error:
            state = "signed by another key" if envelope.signatures else "not signed"
            message = f"the provenance is {state}"
            raise NotTrusted(message, hint="name the public key of who released the image") from error
    return statement


def is_signed(data: bytes) -> bool:
    return bool(json.loads(data).get("signatures"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
