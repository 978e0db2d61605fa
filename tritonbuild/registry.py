"""A repository in a registry: its manifests, its blobs, and what refers to an image.

The requests follow the OCI distribution specification 1.1; registries without its referrers API are
served by the tag that the specification falls back to. Signing in is done by oras, from Docker's own
configuration and credential helpers, so a password is never an argument of ours.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests

from tritonbuild.errors import RegistryFailed, ToolMissing, UsageError
from tritonbuild.files import digest_of
from tritonbuild.oci import EMPTY, IMAGE, INDEX, MANIFESTS, Descriptor, Manifest
from tritonbuild.registrysession import Passing, Session

_BLOCK = 1 << 20
_WITH_ENGINE = 3

T = TypeVar("T")


class Repository:
    """One repository of a registry.

    Every method raises RegistryRefused when the registry does not let us, RegistryFailed when it answers
    nonsense, and Unreachable when it gives no answer, after several attempts with growing pauses.
    """

    def __init__(self, name: str, *, attempts: int = 5, wait: float = 1.0) -> None:
        """``name`` is ``HOST[:PORT]/PATH``; ``wait`` the first pause between attempts, in seconds."""
        self.name = name
        self.host, separator, self.path = name.partition("/")
        if not separator:
            message = f"{name!r} names no repository"
            raise UsageError(message, hint="write HOST/NAME, such as registry.example/team/tritonserver")
        self._session = Session(self.host, self.path, attempts=attempts, wait=wait)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do what the engine does with this repository, again where that or the engine itself fails.

        Fewer times than our own requests: the engine tries each layer five times by itself.
        """
        return self._session.attempt(work, passing=(RegistryFailed, ToolMissing), attempts=_WITH_ENGINE)

    def at(self, reference: str) -> str:
        """Return the full name of a tag or digest in this repository."""
        return f"{self.name}{'@' if ':' in reference else ':'}{reference}"

    def find(self, reference: str) -> Manifest | None:
        """Return the manifest of a tag or digest, None when the registry does not have it."""
        answer = self._session.ask("GET", f"manifests/{reference}", headers={"Accept": ", ".join(MANIFESTS)})
        if answer is None:
            return None
        manifest = Manifest(body=answer.content, media_type=_media_type(answer))
        if reference.startswith("sha256:") and manifest.digest != reference:
            message = f"{self.at(reference)}: the registry answers with another manifest, {manifest.digest}"
            raise RegistryFailed(
                message, hint="its storage is damaged, or something between changes what it sends"
            )
        return manifest

    def get(self, reference: str) -> Manifest:
        """Return the manifest of a tag or digest; raise RegistryFailed when there is none."""
        manifest = self.find(reference)
        if manifest is None:
            message = f"{self.at(reference)} is not in the registry"
            raise RegistryFailed(message, hint="check the name, or release the row again")
        return manifest

    def put(self, manifest: Manifest, reference: str | None = None) -> str:
        """Store a manifest under a tag (or its digest alone); return its digest."""
        where = reference or manifest.digest
        self._session.ask(
            "PUT", f"manifests/{where}", data=manifest.body, headers={"Content-Type": manifest.media_type}
        )
        return manifest.digest

    def put_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Store bytes that the repository does not have yet."""
        descriptor = Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))
        if self._session.ask("HEAD", f"blobs/{descriptor.digest}") is not None:
            return descriptor

        def upload() -> None:
            # Both requests are tried anew together: an upload that broke cannot be taken up again.
            begun = self._session.once("POST", "blobs/uploads/")
            if begun is None:
                raise self._absent(None)
            place = urljoin(begun.url, begun.headers.get("Location", ""))
            separator = "&" if "?" in place else "?"
            self._session.once(
                "PUT",
                f"{place}{separator}digest={descriptor.digest}",
                data=data,
                headers={"Content-Type": "application/octet-stream"},
            )

        self._session.attempt(upload)
        return descriptor

    def get_blob(self, descriptor: Descriptor) -> bytes:
        """Return a blob's bytes, which are checked against its descriptor."""
        return self._session.attempt(lambda: b"".join(self._stream(descriptor)))

    def check_blob(self, descriptor: Descriptor) -> None:
        """Read a blob to its end; raise RegistryFailed unless it is what its descriptor says."""
        self._session.attempt(lambda: deque(self._stream(descriptor), maxlen=0))

    def attach(
        self,
        subject: Descriptor,
        artifact_type: str,
        files: Mapping[str, tuple[bytes, str]],
        annotations: Mapping[str, str] | None = None,
    ) -> Descriptor:
        """Store files (name -> bytes and media type) as an artifact that refers to ``subject``."""
        layers = []
        for name, (data, media_type) in files.items():
            blob = self.put_blob(data, media_type)
            layers.append({**blob.as_json(), "annotations": {"org.opencontainers.image.title": name}})
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": artifact_type,
            "config": self.put_blob(b"{}", EMPTY).as_json(),
            "layers": layers,
            "subject": subject.as_json(),
            "annotations": dict(annotations or {}),
        }
        made = Manifest(body=json.dumps(manifest, sort_keys=True).encode(), media_type=IMAGE)
        answer = self._session.ask(
            "PUT", f"manifests/{made.digest}", data=made.body, headers={"Content-Type": made.media_type}
        )
        descriptor = Descriptor(
            media_type=IMAGE, digest=made.digest, size=len(made.body), artifact_type=artifact_type
        )
        if answer is None or answer.headers.get("OCI-Subject") != subject.digest:
            self._list_in_fallback(subject.digest, descriptor)
        return descriptor

    def referrers(self, digest: str) -> list[Descriptor]:
        """Return what refers to a manifest."""
        answer = self._session.ask("GET", f"referrers/{digest}", headers={"Accept": INDEX})
        index: dict[str, Any] = {}
        if answer is not None and _media_type(answer) == INDEX:
            index = answer.json()
        else:
            fallback = self.find(_fallback_tag(digest))
            index = fallback.content if fallback else {}
        return [Descriptor.read(entry) for entry in index.get("manifests", ())]

    def _list_in_fallback(self, digest: str, entry: Descriptor) -> None:
        tag = _fallback_tag(digest)
        current = self.find(tag)
        entries: Sequence[Mapping[str, Any]] = current.content["manifests"] if current else ()
        if any(known["digest"] == entry.digest for known in entries):
            return
        added = {**entry.as_json(), "artifactType": entry.artifact_type}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, added]}
        self.put(Manifest(body=json.dumps(index, sort_keys=True).encode(), media_type=INDEX), tag)

    def _stream(self, descriptor: Descriptor) -> Iterator[bytes]:
        answer = self._session.once("GET", f"blobs/{descriptor.digest}", stream=True)
        if answer is None:
            raise self._absent(descriptor)
        found, size = hashlib.sha256(), 0
        try:
            with answer:
                for block in answer.iter_content(_BLOCK):
                    found.update(block)
                    size += len(block)
                    yield block
        except requests.RequestException as error:
            text = f"only {size} of the {descriptor.size} bytes of {descriptor.digest}"
            raise Passing(text) from error
        if (f"sha256:{found.hexdigest()}", size) != (descriptor.digest, descriptor.size):
            message = f"{self.name}: what the registry sends as {descriptor.digest} is not that"
            raise RegistryFailed(
                message, hint="its storage is damaged, or something between changes what it sends"
            )

    def _absent(self, blob: Descriptor | None) -> RegistryFailed:
        what = f"no {blob.digest}" if blob else "no place for uploads"
        return RegistryFailed(f"{self.name} has {what}", hint="check the name, or release the row again")


def _fallback_tag(digest: str) -> str:
    return digest.replace(":", "-")


def _media_type(answer: requests.Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()
