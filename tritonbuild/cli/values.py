"""Values of flags: what a well-formed one is. Each function is an argparse type and raises UsageError."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from packaging.version import InvalidVersion, Version

from tritonbuild.errors import UnsupportedFeature, UsageError
from tritonbuild.identifiers import did_you_mean

_NAME = r"[a-z0-9][a-z0-9./_-]*(:[0-9]+/[a-z0-9./_-]+)?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
_TAG = re.compile(_NAME)
_IMAGE_REF = re.compile(_NAME + r"(@sha256:[0-9a-f]{64})?")
_HOST = r"(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(:[0-9]{1,5})?"
_REPOSITORY = re.compile(rf"{_HOST}(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_IN_REGISTRY = re.compile(
    rf"{_REPOSITORY.pattern}(:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?"
)
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_SECRET = re.compile(r"[A-Za-z0-9._-]+")

# Image that upstream's build.py or compose.py takes -> why it is not taken here.
_OTHER_IMAGES = {
    "full": "the server of the ngc rows is pinned in versions.yaml",
    "inference": "no such backend is in the images",
    "min": "compose.py's name for what is called base here",
    "pytorch": "no such backend is in the images",
    "tensorflow": "no such backend is in the images",
    "tensorflow2": "no such backend is in the images",
}


def one_of(flag: str, known: Sequence[str]) -> Callable[[str], str]:
    """Return a type that takes the words of ``known`` only."""

    def check(value: str) -> str:
        if value not in known:
            message = f"{flag}: unknown value {value!r}"
            raise UsageError(message, hint=did_you_mean(value, known))
        return value

    return check


def count(flag: str) -> Callable[[str], int]:
    """Return a type that takes numbers from 1 on."""

    def check(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", value) or int(value) < 1:
            message = f"{flag}: {value!r} is not a number of jobs"
            raise UsageError(message, hint="give 1 or more, or leave it out")
        return int(value)

    return check


def image_name(value: str) -> str:
    """Return the name of an image to be made."""
    if not _TAG.fullmatch(value):
        message = f"--tag: {value!r} is not an image name"
        raise UsageError(message, hint="such as --tag registry.example/triton:24.08")
    return value


def key_and_image(value: str) -> tuple[str, str]:
    """Return key and reference of ``base,REF`` or ``gpu-base,REF``."""
    key, _, reference = value.partition(",")
    if key in _OTHER_IMAGES and _IMAGE_REF.fullmatch(reference):
        message = f"--image {key},REF cannot be honoured: {_OTHER_IMAGES[key]}"
        raise UnsupportedFeature(message, hint="leave it out, or write --image base,REF")
    if key not in ("base", "gpu-base") or not _IMAGE_REF.fullmatch(reference):
        message = f"--image: {value!r} is not base,REF"
        raise UsageError(message, hint="such as --image base,debian:bookworm-slim")
    return key, reference


def label_value(flag: str) -> Callable[[str], str]:
    """Return a type that takes what can stand in a label as it is."""

    def check(value: str) -> str:
        if not _LABEL.fullmatch(value):
            message = f"{flag}: {value!r} is not an id"
            raise UsageError(
                message, hint="up to 128 letters, digits and . _ : / @ + -, such as 1234 or 4f2e1c0"
            )
        return value

    return check


def check_secret_name(name: str) -> None:
    if not _SECRET.fullmatch(name):
        message = f"--build-secret: {name!r} is not a name"
        raise UsageError(message, hint="letters, digits, dot, dash and underscore")


def vllm_version(value: str) -> str:
    """Return a version in its normal form: ``1.2post1`` as ``1.2.post1``."""
    try:
        if re.fullmatch(r"[0-9][0-9A-Za-z.+]{0,63}", value):
            return str(Version(value))
    except InvalidVersion:
        pass
    message = f"--vllm-version: {value!r} is not a version"
    raise UsageError(message, hint="such as 1.2.3.post1; `./build.py list` shows that of each row")


def repository_name(value: str) -> str:
    """Return the repository that images are released to."""
    if not _REPOSITORY.fullmatch(value):
        message = f"--registry: {value!r} is not HOST[:PORT]/NAME"
        raise UsageError(
            message, hint="such as registry.example/team/tritonserver or localhost:5000/tritonserver"
        )
    return value


def image_reference_value(value: str) -> str:
    """Return the reference of an image in a registry."""
    if not _IN_REGISTRY.fullmatch(value):
        message = f"{value!r} is not an image in a registry"
        raise UsageError(message, hint="write HOST/NAME:TAG or HOST/NAME@sha256:DIGEST")
    return value


def service_url(value: str) -> str:
    """Return the address of a service, without a slash at its end."""
    if not _URL.fullmatch(value):
        message = f"{value!r} is not the address of a service"
        raise UsageError(message, hint="such as https://api.osv.dev")
    return value.rstrip("/")
