"""The engine's API, with a stand-in for docker-py's client."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import docker
import pytest
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from tritonbuild import engine
from tritonbuild.errors import BuildError, CommandFailed, RegistryFailed, RegistryRefused, ToolMissing


class Ended:
    """A container whose output is whole once it was waited for."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.waited = self.removed = False

    def wait(self, **_: Any) -> dict[str, int]:
        self.waited = True
        return {"StatusCode": self.code}

    def logs(self, *, stdout: bool, stderr: bool) -> bytes:
        assert stdout != stderr
        text = ("printed é" if stdout else "line 1\nlast line").encode()
        return text if self.waited else text[:3]

    def remove(self, *, force: bool) -> None:
        assert force
        self.removed = True


class Client:
    """Knows some images; notes what it was asked."""

    def __init__(self, *names: str) -> None:
        self.names = {name: SimpleNamespace(id=f"sha256:{name}") for name in names}
        self.pulled: list[str] = []
        self.ran: dict[str, Any] = {}
        self.failure: Exception | None = None
        self.images = SimpleNamespace(get=self._get, pull=self._pull)
        self.containers = SimpleNamespace(run=self._run)
        self.container = Ended()

    def ping(self) -> None:
        if self.failure:
            raise self.failure

    def _get(self, name: str) -> object:
        if name not in self.names:
            raise ImageNotFound(name)
        return self.names[name]

    def _pull(self, name: str) -> None:
        if self.failure:
            raise self.failure
        self.pulled.append(name)

    def _run(self, image: str, command: list[str], **options: Any) -> Ended:
        self.ran = {"image": image, "command": command, **options}
        return self.container


def test_connect_returns_a_client_that_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = Client()
    monkeypatch.setattr(docker, "from_env", lambda **_: client)
    assert engine.connect() is client


def test_no_engine_is_a_missing_tool_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        message = "Error while fetching\nserver API version"
        raise DockerException(message)

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(ToolMissing) as failure:
        engine.connect()
    assert failure.value.message == "no container engine answers: Error while fetching"
    assert "DOCKER_HOST" in str(failure.value.hint)


def test_find_image_tells_absent_from_broken() -> None:
    client: Any = Client("a")
    assert engine.find_image(client, "a") is client.names["a"]
    assert engine.find_image(client, "b") is None

    def broken(name: str) -> None:
        raise APIError(name)

    client.images.get = broken
    with pytest.raises(APIError):
        engine.find_image(client, "a")


def test_digests_are_those_of_the_repository_that_was_asked() -> None:
    known = ["debian@sha256:1", "mirror.example/debian@sha256:2"]
    image: Any = SimpleNamespace(attrs={"RepoDigests": known})
    assert engine.read_digests(image, "mirror.example/debian") == ["sha256:2"]
    assert engine.read_digests(image, "docker.io/library/debian") == ["sha256:1"]
    assert engine.read_digests(SimpleNamespace(attrs={}), "debian") == []  # type: ignore[arg-type]


def test_pull_returns_the_reason_in_one_line() -> None:
    client: Any = Client()
    assert engine.pull_image(client, "a") is None
    assert client.pulled == ["a"]
    client.failure = APIError("x", explanation="dial tcp: no route\nmore")
    assert engine.pull_image(client, "a") == "dial tcp: no route"


@pytest.mark.parametrize(
    ("status", "reached"), [(404, True), (401, True), (500, False)], ids=["absent", "refused", "no network"]
)
def test_a_registry_that_refuses_is_told_from_one_that_is_not_reached(status: int, reached: bool) -> None:
    client: Any = Client()
    reply: Any = SimpleNamespace(status_code=status)

    def look_up(reference: str) -> None:
        raise APIError(reference, reply, explanation="reason\nmore")

    client.images.get_registry_data = look_up
    assert engine.ask_registry(client, "a") == engine.Lookup(reached=reached, reason="reason")
    client.images.get_registry_data = lambda _: SimpleNamespace(id="sha256:1")
    assert engine.ask_registry(client, "a") == engine.Lookup(reached=True, digest="sha256:1")


def test_an_engine_that_waits_too_long_for_a_registry_has_not_reached_it() -> None:
    client: Any = Client()

    def look_up(_: str) -> None:
        message = "Read timed out"
        raise requests.ReadTimeout(message)

    client.images.get_registry_data = look_up
    assert engine.ask_registry(client, "a") == engine.Lookup(reached=False, reason="Read timed out")


def test_scripts_run_without_network_and_leave_no_container() -> None:
    client: Any = Client()
    assert engine.run_python(client, "sha256:1", "print(1)") == "printed é"
    assert client.ran["entrypoint"] == ["python3", "-c"]
    assert client.ran["command"] == ["print(1)"]
    assert client.ran["network_mode"] == "none"
    assert client.container.removed


def test_a_failing_script_shows_its_last_lines_and_leaves_no_container() -> None:
    client: Any = Client()
    client.container.code = 3
    with pytest.raises(CommandFailed) as failure:
        engine.run_python(client, "sha256:1", "x")
    assert failure.value.message == "a script in sha256:1 ended with code 3"
    assert failure.value.tail == ("line 1", "last line")
    assert client.container.removed


def test_a_root_file_system_becomes_an_image() -> None:
    calls: list[tuple[Any, ...]] = []
    client: Any = SimpleNamespace(
        api=SimpleNamespace(import_image_from_file=lambda *a, **k: calls.append((a, k)))
    )
    engine.import_image(client, Path("base.tar"), name="n", tag="t", changes=("CMD x",))
    assert calls == [(("base.tar",), {"repository": "n", "tag": "t", "changes": ["CMD x"]})]


def test_image_facts_are_what_the_engine_tells() -> None:
    image: Any = SimpleNamespace(attrs={"Id": "sha256:1", "Size": 7, "Created": "now", "Other": 1})
    assert engine.image_facts(image) == {"id": "sha256:1", "size": 7, "created": "now"}


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("tritonserver:24.08-cpu", "tritonserver", "24.08-cpu"),
        ("tritonserver", "tritonserver", "latest"),
        ("registry.example:5000/triton", "registry.example:5000/triton", "latest"),
        ("registry.example:5000/triton:24.08", "registry.example:5000/triton", "24.08"),
    ],
)
def test_a_tag_is_split_where_the_engine_splits_it(reference: str, repository: str, tag: str) -> None:
    client = MagicMock()
    engine.tag_image(client, "sha256:1", reference)
    client.images.get.assert_called_once_with("sha256:1")
    client.images.get.return_value.tag.assert_called_once_with(repository, tag=tag)


def test_layers_and_their_history_are_put_together() -> None:
    history = [  # newest first, as the engine tells it
        {"CreatedBy": "CMD [bash]", "Size": 0},
        {"CreatedBy": "COPY x", "Size": 7},
        {"CreatedBy": None, "Size": 130},
    ]
    image: Any = SimpleNamespace(
        attrs={"RootFS": {"Layers": ["sha256:base", "sha256:x"]}}, history=lambda: history
    )
    assert engine.read_layers(image) == {"sha256:base": 130, "sha256:x": 7}


def test_an_image_that_the_engine_cannot_export_is_one_line() -> None:
    def save(**_: object) -> Iterator[bytes]:
        msg = "500 Server Error"
        raise APIError(msg, explanation="write /x/layer.tar: no space left on device")
        yield b""  # as docker-py: nothing happens before the first piece is asked for

    image = SimpleNamespace(short_id="sha256:0123456789", save=save)
    with pytest.raises(CommandFailed, match=r"export sha256:0123456789: write .*: no space left") as caught:
        list(engine.export_image(image))  # type: ignore[arg-type]
    assert "free as much as the image takes" in (caught.value.hint or "")


def _pusher(*events: dict[str, Any]) -> Any:
    return SimpleNamespace(api=SimpleNamespace(push=lambda *_, **__: iter(events)))


def test_a_push_tells_the_digest_and_what_it_is_doing() -> None:
    notes: list[str] = []
    client = _pusher(
        {"status": "Preparing"},
        {"id": "abc", "status": "Pushing", "progress": "1 MB"},
        {"aux": {"Tag": "1", "Digest": "sha256:7", "Size": 3}},
    )
    assert engine.push_image(client, "localhost:5000/x:1", notes.append) == "sha256:7"
    assert notes == ["abc: Pushing 1 MB"]


@pytest.mark.parametrize(
    ("events", "kind", "text"),
    [
        ([{"error": "denied: requested access is denied"}], RegistryRefused, "access is denied"),
        ([{"error": "unauthorized: authentication required"}], RegistryRefused, "unauthorized"),
        ([{"error": "received unexpected HTTP status: 500"}], RegistryFailed, "cannot be pushed: received"),
        ([{"status": "done"}], RegistryFailed, "the engine names no digest"),
    ],
)
def test_a_push_that_fails_says_why(events: list[dict[str, Any]], kind: type[BuildError], text: str) -> None:
    with pytest.raises(kind, match=text):
        engine.push_image(_pusher(*events), "localhost:5000/x:1", lambda note: None)


class Exported:
    """A container that was never started, whose files can be had."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files, self.removed = files, False
        self.failure: Exception | None = None

    def export(self, **_: object) -> Iterator[bytes]:
        yield b"half"
        if self.failure:
            raise self.failure
        yield b" and half"

    def get_archive(self, path: str) -> tuple[Iterator[bytes], dict[str, Any]]:
        if path not in self.files:
            raise NotFound(path)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo(Path(path).name)
            entry.size = len(self.files[path])
            archive.addfile(entry, io.BytesIO(self.files[path].encode()))
        return iter([buffer.getvalue()]), {}

    def remove(self, **_: object) -> None:
        self.removed = True


def _client_of(container: Exported) -> Any:
    return SimpleNamespace(containers=SimpleNamespace(create=lambda *_, **__: container))


IMAGE: Any = SimpleNamespace(id="sha256:1", short_id="sha256:1")


def test_the_files_of_an_image_are_exported_and_the_container_is_gone() -> None:
    container = Exported({"/etc/passwd": "root:x:0:0:root:/root:/bin/sh"})
    with engine.image_files(_client_of(container), IMAGE) as files:
        assert b"".join(files.chunks) == b"half and half"
        assert files.passwd.startswith("root:")
        assert files.group == ""
        assert not container.removed
    assert container.removed


def test_an_export_that_breaks_off_is_one_line_and_the_container_is_gone() -> None:
    container = Exported({})
    container.failure = APIError("no space left")
    with (
        pytest.raises(CommandFailed, match="cannot export the files"),
        engine.image_files(_client_of(container), IMAGE) as files,
    ):
        b"".join(files.chunks)
    assert container.removed
