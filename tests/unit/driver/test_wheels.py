"""Wheels the default index lacks: which file is taken, and what happens when none can be had."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import tenacity

from tritonbuild import wheels as module
from tritonbuild.errors import DownloadFailed
from tritonbuild.repacking import repack
from tritonbuild.schema import Sdist, Wheel
from tritonbuild.wheels import locate_wheels, wheel_folders

CONTENT = b"a wheel" * 1000
WHEEL = Wheel(
    requirement="torch==1+cpu",
    url="https://wheels.example/torch-1%2Bcpu-py3-none-any.whl",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
NAME = "torch-1+cpu-py3-none-any.whl"


class Reply:
    """What ``requests.get`` returns, as far as a download needs it."""

    def __init__(self, content: bytes, *, status: int = 200, breaks: bool = False) -> None:
        self.content, self.status, self.breaks = content, status, breaks
        self.headers = {"Content-Length": str(len(content))}

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def raise_for_status(self) -> None:
        if self.status != 200:
            raise requests.HTTPError(str(self.status))

    def iter_content(self, _: int) -> Iterator[bytes]:
        yield self.content[:100]
        if self.breaks:
            raise requests.exceptions.ChunkedEncodingError
        yield self.content[100:]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    monkeypatch.setattr(module._download.retry, "sleep", lambda _: None)
    return tmp_path / "build" / "wheels"


@pytest.fixture
def replies(monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[Any]:
    """The replies of the network, in their order: a Reply, or an exception to raise."""
    queue: list[Any] = []

    def get(url: str, **options: object) -> Reply:
        assert url in (WHEEL.url, "https://wheels.example/a-1.tar.gz")
        assert options["timeout"]
        reply = queue.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, Reply)
        return reply

    monkeypatch.setattr(requests, "get", get)
    return queue


def _folder(tmp_path: Path, name: str, content: bytes = CONTENT) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / NAME).write_bytes(content)
    return folder


def test_a_wheelhouse_comes_before_a_download(tmp_path: Path, cache: Path, step: Any) -> None:
    folder = _folder(tmp_path, "house")
    assert locate_wheels([WHEEL], [folder], step) == [folder / NAME]
    assert f"{NAME} from {folder}" in step.text


def test_the_first_folder_that_has_it_wins(tmp_path: Path, cache: Path, step: Any) -> None:
    empty, first, second = tmp_path, _folder(tmp_path, "one"), _folder(tmp_path, "two")
    assert locate_wheels([WHEEL], [empty, first, second], step) == [first / NAME]


def test_a_file_with_other_bytes_is_passed_over(tmp_path: Path, cache: Path, step: Any) -> None:
    wrong, right = _folder(tmp_path, "wrong", b"other"), _folder(tmp_path, "right")
    assert locate_wheels([WHEEL], [wrong, right], step) == [right / NAME]
    assert f"{wrong / NAME} has another SHA-256 than versions.yaml, passed over" in step.text


def test_a_file_is_hashed_once(
    tmp_path: Path, cache: Path, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _folder(tmp_path, "house")
    hashed: list[Path] = []

    def sha256_file(path: Path) -> str:
        hashed.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(module, "sha256_file", sha256_file)
    locate_wheels([WHEEL], [folder], step)
    locate_wheels([WHEEL], [folder], step)
    assert hashed == [folder / NAME]
    (folder / NAME).write_bytes(CONTENT + b"!")
    with pytest.raises(pytest.fail.Exception, match=r"requests\.get"):
        locate_wheels([WHEEL], [folder], step)


def test_a_missing_wheel_is_downloaded_and_kept(cache: Path, replies: list[Any], step: Any) -> None:
    replies.append(Reply(CONTENT))
    assert locate_wheels([WHEEL], [], step) == [cache / NAME]
    assert (cache / NAME).read_bytes() == CONTENT
    assert locate_wheels([WHEEL], [], step) == [cache / NAME]  # from the cache: no reply is left
    assert f"downloading {NAME}" in step.text


def test_a_wheelhouse_comes_before_the_cache(
    tmp_path: Path, cache: Path, replies: list[Any], step: Any
) -> None:
    replies.append(Reply(CONTENT))
    locate_wheels([WHEEL], [], step)
    folder = _folder(tmp_path, "house")
    assert locate_wheels([WHEEL], [folder], step) == [folder / NAME]


@pytest.mark.parametrize("failure", [requests.ConnectionError("no route"), requests.Timeout("slow")])
def test_a_passing_failure_is_tried_again(
    cache: Path, replies: list[Any], step: Any, failure: Exception
) -> None:
    replies += [failure, failure, Reply(CONTENT)]
    assert locate_wheels([WHEEL], [], step) == [cache / NAME]


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        (lambda: [requests.ConnectionError("no route to 10.0.0.1")] * 4, "ConnectionError"),
        (lambda: [Reply(b"", status=404)], "HTTPError"),
        (lambda: [Reply(CONTENT, breaks=True)], "ChunkedEncodingError"),
    ],
)
def test_a_failed_download_says_how_to_do_without(
    cache: Path, replies: list[Any], step: Any, sequence: Callable[[], list[Any]], kind: str
) -> None:
    replies += sequence()
    with pytest.raises(DownloadFailed) as failure:
        locate_wheels([WHEEL], [], step)
    assert failure.value.message == f"torch==1+cpu: cannot download from wheels.example: {kind}"
    hint = str(failure.value.hint)
    assert NAME in hint
    assert "--wheelhouse DIR" in hint
    assert "PIP_FIND_LINKS" in hint
    assert replies == []
    assert not (cache / NAME).exists()


def test_a_broken_download_is_not_taken_for_a_wheel_next_time(
    cache: Path, replies: list[Any], step: Any
) -> None:
    replies += [Reply(CONTENT, breaks=True), Reply(CONTENT)]
    with pytest.raises(DownloadFailed):
        locate_wheels([WHEEL], [], step)
    assert [p for p in cache.iterdir() if p.suffix == ".whl"] == []
    assert locate_wheels([WHEEL], [], step)[0].read_bytes() == CONTENT


def test_a_download_with_other_bytes_is_thrown_away(cache: Path, replies: list[Any], step: Any) -> None:
    replies.append(Reply(b"something else"))
    with pytest.raises(DownloadFailed, match=r"is not the file that versions\.yaml pins"):
        locate_wheels([WHEEL], [], step)
    assert list(cache.iterdir()) == []


@pytest.fixture
def packed(tmp_path: Path, cache: Path, replies: list[Any]) -> tuple[Wheel, bytes]:
    """A wheel that is made of a source archive, and the archive."""
    archive = tmp_path / "made" / "a-1.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("a-1/PKG-INFO", "a-1/a.py"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    content = archive.read_bytes()
    sdist = Sdist(url=WHEEL.url.rsplit("/", 1)[0] + "/a-1.tar.gz", sha256=_sha256(content), modules=("a",))
    wheel = Wheel(requirement="a==1", sdist=sdist, sha256="0" * 64)
    repack(archive, wheel, archive.parent / wheel.filename)
    made = (archive.parent / wheel.filename).read_bytes()
    return wheel.model_copy(update={"sha256": _sha256(made)}), content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_source_archive_is_downloaded_and_made_a_wheel(
    cache: Path, replies: list[Any], step: Any, packed: tuple[Wheel, bytes]
) -> None:
    wheel, content = packed
    replies.append(Reply(content))
    assert locate_wheels([wheel], [], step) == [cache / "a-1-py3-none-any.whl"]
    assert "downloading a-1.tar.gz" in step.text
    assert _sha256((cache / "a-1-py3-none-any.whl").read_bytes()) == wheel.sha256
    (cache / "a-1-py3-none-any.whl").unlink()
    locate_wheels([wheel], [], step)  # out of the archive in the cache: no reply is left


def test_a_source_archive_can_lie_in_a_wheelhouse(
    tmp_path: Path, cache: Path, step: Any, packed: tuple[Wheel, bytes]
) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "a-1.tar.gz").write_bytes(b"other")
    assert locate_wheels([packed[0]], [wrong, tmp_path / "made"], step)[0].is_file()


def test_a_source_archive_with_other_bytes_is_thrown_away(
    cache: Path, replies: list[Any], step: Any, packed: tuple[Wheel, bytes]
) -> None:
    replies.append(Reply(b"something else"))
    with pytest.raises(DownloadFailed, match=r"a-1\.tar\.gz .* is not the file that versions\.yaml pins"):
        locate_wheels([packed[0]], [], step)
    assert list(cache.iterdir()) == []


def test_another_wheel_than_the_pinned_one_is_refused(
    cache: Path, replies: list[Any], step: Any, packed: tuple[Wheel, bytes]
) -> None:
    replies.append(Reply(packed[1]))
    with pytest.raises(DownloadFailed, match=r"is not the wheel that versions\.yaml pins") as failure:
        locate_wheels([packed[0].model_copy(update={"sha256": "0" * 64})], [], step)
    assert f"pin sha256: {packed[0].sha256}" in str(failure.value.hint)


def test_no_wheels_means_no_work(cache: Path, step: Any) -> None:
    assert locate_wheels([], [], step) == []


def test_pip_find_links_adds_local_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, two, given = tmp_path / "one", tmp_path / "two", tmp_path / "given"
    for folder in (one, two, given):
        folder.mkdir()
    links = f"file://{one} https://wheels.example/simple {two} {tmp_path}/missing"
    monkeypatch.setenv("PIP_FIND_LINKS", links)
    assert wheel_folders([given]) == [given, one, two]


def test_without_pip_find_links_only_the_given_folders_count(tmp_path: Path) -> None:
    assert wheel_folders([]) == []
    assert wheel_folders([tmp_path]) == [tmp_path]


def test_tries_are_few_and_spaced() -> None:
    retry = module._download.retry
    assert isinstance(retry.wait, tenacity.wait_exponential)
