"""What the engine's API does: images, containers, tags. Building needs BuildKit, see buildkit.py."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from urllib3.exceptions import ProtocolError

from tritonbuild.errors import CommandFailed, RegistryFailed, RegistryRefused, ToolMissing
from tritonbuild.layers import Layers, pair_layers
from tritonbuild.references import split_registry

# How long a script in an image may take.
_SCRIPT_SECONDS = 600
# What engines say when a registry does not let them; it comes as text only.
_REFUSED = re.compile(r"unauthorized|denied|no basic auth|authentication required", re.IGNORECASE)


def connect(*, timeout: int = 600) -> docker.DockerClient:
    """Return a client of the engine that DOCKER_HOST or the default socket names.

    ``timeout`` is how many seconds the engine may take for an answer.
    """
    try:
        client = docker.from_env(timeout=timeout)
        client.ping()
    except DockerException as error:
        message = f"no container engine answers: {_first_line(error)}"
        raise ToolMissing(message, hint="start Docker, or set DOCKER_HOST to one that runs") from error
    return client


@contextmanager
def asking_engine() -> Iterator[None]:
    """Say that the engine went away, where docker-py says only that a connection broke."""
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, ProtocolError) as error:
        message = f"the container engine no longer answers: {_first_line(error)[:160]}"
        raise ToolMissing(
            message, hint="start it and run the same command again: finished steps are kept"
        ) from error


def find_image(client: docker.DockerClient, reference: str) -> Image | None:
    """Return a local image, or None when the engine has none of that name."""
    try:
        return client.images.get(reference)
    except ImageNotFound:
        return None


def read_digests(image: Image, repository: str) -> list[str]:
    """Return the digests under which a registry has, or had, this image in ``repository``."""
    known = (str(entry).partition("@") for entry in image.attrs.get("RepoDigests") or ())
    wanted = split_registry(repository)
    return sorted(digest for name, _, digest in known if split_registry(name) == wanted)


def pull_image(client: docker.DockerClient, reference: str) -> str | None:
    """Pull an image; return None, or the engine's reason in one line when it cannot."""
    try:
        client.images.pull(reference)
    except (APIError, DockerException) as error:
        return _first_line(error)
    return None


def push_image(client: docker.DockerClient, reference: str, on_note: Callable[[str], None]) -> str:
    """Push a tagged local image; return the digest (``sha256:...``) that the registry has it under.

    Raises RegistryRefused when the registry does not let us, RegistryFailed when anything else goes wrong.
    The engine signs in with what Docker's configuration has, and tries each layer several times.
    """
    repository, _, tag = reference.rpartition(":")
    digest, trouble = "", ""
    try:
        for event in client.api.push(repository, tag=tag, stream=True, decode=True):
            trouble = str(event.get("error", trouble))
            digest = str((event.get("aux") or {}).get("Digest", digest))
            if event.get("status") and event.get("id"):
                on_note(f"{event['id']}: {event['status']} {event.get('progress', '')}".rstrip())
    except (DockerException, requests.RequestException, ValueError) as error:
        trouble = _first_line(error)
    if _REFUSED.search(trouble):
        message = f"{reference}: {trouble.splitlines()[0]}"
        host = repository.partition("/")[0]
        raise RegistryRefused(message, hint=f"docker login {host}, with an account that may push there")
    if trouble or not digest:
        message = f"{reference} cannot be pushed: {(trouble or 'the engine names no digest').splitlines()[0]}"
        raise RegistryFailed(message, hint="run the same command again: what arrived is not sent twice")
    return digest


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Whether a registry was reached, which image it has, or why it does not hand it out."""

    reached: bool
    reason: str | None = None
    digest: str | None = None


def ask_registry(client: docker.DockerClient, reference: str) -> Lookup:
    """Let the engine look an image up without pulling it.

    The engine is asked, not the registry: it has its own network, proxy, mirrors and certificates.
    """
    try:
        data = client.images.get_registry_data(reference)
    except APIError as error:
        return Lookup(reached=bool(error.is_client_error()), reason=_first_line(error))
    except (DockerException, requests.RequestException) as error:  # the latter: no answer in time
        return Lookup(reached=False, reason=_first_line(error))
    return Lookup(reached=True, digest=str(data.id))


def import_image(
    client: docker.DockerClient, archive: Path, *, name: str, tag: str, changes: Sequence[str]
) -> None:
    """Make an image of a root file system in a tar file."""
    client.api.import_image_from_file(str(archive), repository=name, tag=tag, changes=list(changes))


def run_python(client: docker.DockerClient, image: str, script: str) -> str:
    """Run a Python script in a fresh container without network; return what it printed."""
    container = client.containers.run(
        image, [script], entrypoint=["python3", "-c"], detach=True, network_mode="none"
    )
    try:
        code = container.wait(timeout=_SCRIPT_SECONDS)["StatusCode"]
        # Read at its end: who follows the output of an engine up to 20.10 may miss the end of a long line.
        output: bytes = container.logs(stdout=True, stderr=False)
        if code:
            tail = container.logs(stdout=False, stderr=True).decode(errors="replace").splitlines()[-20:]
            message = f"a script in {image} ended with code {code}"
            raise CommandFailed(message, tail=tail)
    finally:
        container.remove(force=True)
    return output.decode()


def tag_image(client: docker.DockerClient, image_id: str, reference: str) -> None:
    """Give a local image a name; the image that had it before loses it."""
    repository, separator, tag = reference.rpartition(":")
    if not separator or "/" in tag:  # no tag, or the colon of a registry's port
        repository, tag = reference, "latest"
    client.images.get(image_id).tag(repository, tag=tag)


def untag_image(client: docker.DockerClient, reference: str) -> None:
    """Take a name from a local image; the image itself stays as long as it has another name."""
    # Of a name that somebody takes away at the same moment some engines say less than ImageNotFound.
    with suppress(NotFound):
        client.images.remove(reference, noprune=True)


def image_facts(image: Image) -> dict[str, Any]:
    """Return id, size (bytes, uncompressed) and creation time as the engine tells them."""
    attributes: dict[str, Any] = image.attrs
    return {"id": attributes["Id"], "size": attributes["Size"], "created": attributes["Created"]}


def read_layers(image: Image) -> Layers | None:
    """Return the layers of a local image and their bytes; None where the engine does not tell."""
    history = [(step["CreatedBy"] or "", step["Size"]) for step in reversed(image.history())]
    return pair_layers(image.attrs["RootFS"]["Layers"], history)


def export_image(image: Image) -> Iterator[bytes]:
    """Yield what ``docker save`` gives of an image; raise CommandFailed when the engine cannot."""
    try:
        # docker-py asks the engine only when the first piece is read.
        yield from image.save(chunk_size=1 << 20)
    except APIError as error:
        message = f"the engine cannot export {image.short_id}: {_first_line(error)}"
        hint = "it writes the whole image to its own disk first: free as much as the image takes"
        raise CommandFailed(message, hint=hint) from error


@dataclass(frozen=True, kw_only=True)
class ContainerFiles:
    """The file system of an image, layers put together."""

    chunks: Iterator[bytes]
    """A tar archive; owners, modes, links and extended attributes are in it."""
    passwd: str
    group: str


@contextmanager
def image_files(client: docker.DockerClient, image: Image) -> Iterator[ContainerFiles]:
    """Give the files of an image, through a container that is never started; raise CommandFailed else."""
    try:
        container = client.containers.create(str(image.id), command=["true"])
    except (APIError, requests.RequestException) as error:
        message = f"the engine cannot make a container of {image.short_id}: {_first_line(error)}"
        raise CommandFailed(message) from error
    try:
        yield ContainerFiles(
            chunks=cast("Iterator[bytes]", container.export(chunk_size=1 << 20)),
            passwd=_read_file(container, "/etc/passwd"),
            group=_read_file(container, "/etc/group"),
        )
    except (APIError, requests.RequestException) as error:
        message = f"the engine cannot export the files of {image.short_id}: {_first_line(error)}"
        raise CommandFailed(message, hint="run it again; the engine's own log says more") from error
    finally:
        container.remove(force=True)


def _read_file(container: Container, path: str) -> str:
    """Return a text file of a container; empty when it has none."""
    try:
        chunks, _ = container.get_archive(path)
        content = b"".join(chunks)
    except NotFound:
        return ""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member else None
        return file.read().decode(errors="replace") if file else ""


def _first_line(error: Exception) -> str:
    text = getattr(error, "explanation", None) or str(error)
    return io.StringIO(str(text)).readline().strip() or type(error).__name__
