"""Which certificates a host trusts beyond those that everybody knows."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tests.image.places import Place
from tests.image.serving import check_output

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LINE = 64

# Runs in the image. A file counts as public only when it is the one its package was published
# with, so a certificate slipped into it shows.
_LIST = r"""
import base64, hashlib, importlib.metadata, json, pathlib, re
def read(path):
    text = pathlib.Path(path).read_text(errors="replace")
    pattern = "-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\\s]+)-----END CERTIFICATE-----"
    return ["".join(body.split()) for body in re.findall(pattern, text)]
system, packages, changed = [], [], []
for line in pathlib.Path("/var/lib/dpkg/info/ca-certificates.md5sums").read_text().splitlines():
    digest, _, name = line.partition("  ")
    if name.startswith("usr/share/ca-certificates/"):
        if hashlib.md5(pathlib.Path("/", name).read_bytes()).hexdigest() == digest:
            system += read("/" + name)
        else:
            changed.append("/" + name)
for distribution in importlib.metadata.distributions():
    for file in distribution.files or ():
        if file.suffix == ".pem" and file.hash:
            digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value:
                packages += read(file.locate())
            else:
                changed.append(str(file.locate()))
trusted = {str(path): read(path) for path in pathlib.Path("/etc/ssl/certs").iterdir() if path.is_file()}
trusted.update((str(p), read(p)) for p in pathlib.Path("/usr/local/share/ca-certificates").rglob("*") if p.is_file())
print(json.dumps({"system": system, "packages": packages, "changed": changed, "trusted": trusted}))
"""


class ImageCertificates:
    """The certificates in the image, by where they come from. Each is the base64 text of its PEM."""

    def __init__(self, container: Place) -> None:
        found = json.loads(check_output(container, ["python3", "-c", _LIST], user="0"))
        self.system: set[str] = set(found["system"])
        """Certificates in the distribution's own package."""
        self.packages: set[str] = set(found["packages"])
        """Certificates in Python packages, such as certifi."""
        self.changed: list[str] = found["changed"]
        """Files that are not what their package brought."""
        self.trusted: dict[str, list[str]] = found["trusted"]
        """File name -> certificates in it, for the files that programs in the image trust."""


def read_certificates(files: Iterable[Path]) -> set[str]:
    """Return the base64 texts of all certificates in PEM files."""
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())
    return {"".join(body.split()) for text in texts for body in _PEM.findall(text)}


def traces(certificate: str) -> tuple[bytes, ...]:
    """Return byte strings of which one occurs in any file that holds the certificate.

    The last full line of its PEM form lies in the signature, so no other certificate shares it.
    """
    start = (len(certificate) // _LINE - 1) * _LINE
    line = certificate[start : start + _LINE]
    return (line.encode(), base64.b64decode(line))
