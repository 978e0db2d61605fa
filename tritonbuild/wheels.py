"""Wheels that the default package index does not have: from a wheel folder, else downloaded."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import requests
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from tritonbuild.console import Step
from tritonbuild.errors import DownloadFailed
from tritonbuild.files import sha256_file
from tritonbuild.paths import BUILD
from tritonbuild.repacking import repack
from tritonbuild.schema import Wheel


def wheel_folders(extra: Sequence[Path]) -> list[Path]:
    """Return the folders to look in: --wheelhouse first, then PIP_FIND_LINKS."""
    folders = list(extra)
    for word in os.environ.get("PIP_FIND_LINKS", "").split():
        path = word.removeprefix("file://")
        if "://" not in path and Path(path).is_dir():
            folders.append(Path(path))
    return folders


@retry(
    retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=1, max=10),
    reraise=True,
)
def _download(url: str, target: Path, step: Step) -> None:
    # Two rows may want the same wheel at the same time.
    partial = target.with_suffix(f".{os.getpid()}.part")
    with requests.get(url, stream=True, timeout=(10, 60)) as reply:
        reply.raise_for_status()
        total = int(reply.headers.get("Content-Length", 0))
        with partial.open("wb") as stream:
            for block in reply.iter_content(1 << 20):
                stream.write(block)
                step.note(f"{target.name}: {stream.tell() >> 20} of {total >> 20} MB")
    partial.replace(target)


def find_wheel(
    wheel: Wheel, folders: Sequence[Path], note: Callable[[str], None] = lambda _: None
) -> Path | None:
    """Return the verified file of ``wheel`` that is here already, if any.

    A file of the right name with other bytes is passed over with a note, not used.
    """
    cache = BUILD / "wheels"
    for folder in [*folders, cache]:
        file = folder / wheel.filename
        if file.is_file():
            if _is_verified(file, wheel.sha256, cache):
                note(f"{wheel.filename} from {folder}")
                return file
            note(f"{file} has another SHA-256 than versions.yaml, passed over")
    return None


def locate_wheels(wheels: Iterable[Wheel], folders: Sequence[Path], step: Step) -> list[Path]:
    """Return one verified file for each wheel, downloading what no folder holds."""
    cache = BUILD / "wheels"
    return [find_wheel(wheel, folders, step.note) or _fetch(wheel, folders, cache, step) for wheel in wheels]


def _is_verified(file: Path, sha256: str, cache: Path) -> bool:
    """Hash a file once; remember size and time, for hashing 200 MB costs half a second."""
    status = file.stat()
    cache.mkdir(parents=True, exist_ok=True)
    mark = cache / f"{sha256}.seen"
    fact = f"{file} {status.st_size} {status.st_mtime_ns}"
    if mark.is_file() and mark.read_text(encoding="utf-8") == fact:
        return True
    if sha256_file(file) != sha256:
        return False
    mark.write_text(fact, encoding="utf-8")
    return True


def _fetch(wheel: Wheel, folders: Sequence[Path], cache: Path, step: Step) -> Path:
    """Return the wheel in ``cache``: downloaded, or made of its source archive."""
    target = cache / wheel.filename
    if wheel.sdist is None:
        _fetch_file(wheel.requirement, wheel.download, wheel.sha256, target, step)
        return target
    name = wheel.download.rsplit("/", 1)[1]
    known = [f / name for f in (*folders, cache) if (f / name).is_file()]
    archive = next((file for file in known if sha256_file(file) == wheel.sdist.sha256), cache / name)
    if archive not in known:
        _fetch_file(wheel.requirement, wheel.download, wheel.sdist.sha256, archive, step)
    step.note(f"{wheel.filename} out of {archive.name}")
    repack(archive, wheel, target)
    if sha256_file(target) != wheel.sha256:
        message = f"{wheel.filename} out of {archive.name} is not the wheel that versions.yaml pins"
        raise DownloadFailed(message, hint=f"pin sha256: {sha256_file(target)} if `modules` was changed")
    return target


def _fetch_file(requirement: str, url: str, sha256: str, target: Path, step: Step) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    step.milestone(f"downloading {target.name}")
    host = urllib.parse.urlsplit(url).hostname
    try:
        _download(url, target, step)
    except requests.RequestException as error:
        message = f"{requirement}: cannot download from {host}: {type(error).__name__}"
        raise DownloadFailed(
            message,
            hint=f"put {target.name} into a folder and name it with --wheelhouse DIR or PIP_FIND_LINKS",
        ) from error
    if sha256_file(target) != sha256:
        target.unlink()
        message = f"{target.name} from {host} is not the file that versions.yaml pins"
        raise DownloadFailed(message, hint="compare its SHA-256 with the publisher's before changing the pin")
