"""An image as files for a host without a container engine: its file system, its settings, a start script."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import zstandard
from docker.models.images import Image
from zlib_ng import gzip_ng_threaded

from tritonbuild.console import Step
from tritonbuild.engine import ContainerFiles
from tritonbuild.errors import BundleFailed, UsageError
from tritonbuild.files import sha256_file
from tritonbuild.paths import BUNDLE_SCRIPT, shown

MANIFEST: Final = "bundle.json"
SETTINGS: Final = "settings.sh"
SCRIPT: Final = BUNDLE_SCRIPT.name
# Compression -> what the archive is called. Every host has gzip; zstd unpacks several times as fast.
ARCHIVES: Final = {"gzip": "rootfs.tar.gz", "zstd": "rootfs.tar.zst", "none": "rootfs.tar"}
_SCHEMA = 1
# zlib-ng at 6 and zstd at 9 come to about the same size as the programs' defaults, in less time.
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 9
_KEPT = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "Labels", "Healthcheck"),
    "StopSignal",
)
_NOTE_EVERY = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle as its manifest describes it."""

    folder: Path
    row: str
    image: str
    image_id: str
    archive: str
    archive_bytes: int
    config: Mapping[str, Any]
    """The image's settings, as the engine spells them."""


def read_bundle(folder: Path) -> Bundle:
    """Return what lies in a folder; raise BundleFailed when that is no whole bundle."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        bundle = Bundle(
            folder=folder.resolve(),
            row=found["row"],
            image=found["image"],
            image_id=found["image_id"],
            archive=found["archive"]["file"],
            archive_bytes=found["archive"]["bytes"],
            config=found["config"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder} is no bundle: {MANIFEST} cannot be read ({type(error).__name__}: {error})"
        raise BundleFailed(message, hint="name a folder that `./build.py bundle ROW` has written") from error
    missing = [name for name in (SETTINGS, SCRIPT) if not (folder / name).is_file()]
    if missing:
        message = f"{folder} lacks {' and '.join(missing)}"
        raise BundleFailed(message, hint="copy the whole bundle again")
    return bundle


def default_output(row_folder: Path) -> Path:
    """Return the folder for a row's bundle where nobody named one."""
    return row_folder / "bundle"


def write_bundle(
    image: Image,
    files: ContainerFiles,
    output: Path,
    step: Step,
    *,
    row: str,
    reference: str,
    compression: str = "gzip",
) -> Bundle:
    """Write the bundle of an image to ``output``, whole or not at all; an older bundle there is replaced.

    Raises UsageError when something else lies there, BundleFailed when the files cannot be written.
    """
    _check_output(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        archive = partial / ARCHIVES[compression]
        _write_archive(archive, compression, files.chunks, step)
        config = {key: image.attrs["Config"].get(key) for key in _KEPT}
        user = resolve_user(str(config["User"] or ""), files.passwd, files.group)
        manifest = {
            "schema": _SCHEMA,
            "row": row,
            "image": reference,
            "image_id": image.id,
            "digests": image.attrs.get("RepoDigests") or [],
            "created": image.attrs["Created"],
            "size": image.attrs["Size"],
            "user": user,
            "archive": {
                "file": archive.name,
                "sha256": sha256_file(archive),
                "bytes": archive.stat().st_size,
                "compression": compression,
            },
            "config": config,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        (partial / SETTINGS).write_text(settings_text(manifest), encoding="utf-8")
        shutil.copyfile(BUNDLE_SCRIPT, partial / SCRIPT)
        (partial / SCRIPT).chmod(0o755)
        partial.chmod(0o755)
        _put_in_place(partial, output)
    except OSError as error:
        message = f"the bundle cannot be written to {shown(output)}: {error.strerror or error}"
        needed = int(image.attrs["Size"]) // 1_000_000
        hint = f"name a folder with room: --output DIR (the files take {needed} MB uncompressed)"
        raise BundleFailed(message, hint=hint) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_bundle(output)


def _check_output(output: Path) -> None:
    if output.exists() and not (
        output.is_dir() and ((output / MANIFEST).is_file() or not any(output.iterdir()))
    ):
        message = f"--output: {output} is there, and no bundle"
        raise UsageError(message, hint="name a new folder, or that of an older bundle")


def _put_in_place(partial: Path, output: Path) -> None:
    """Give a finished folder its name; what had it before is gone afterwards."""
    if output.exists():
        old = partial.with_name(f"{partial.name}.old")
        output.rename(old)
        partial.rename(output)
        shutil.rmtree(old)
    else:
        partial.rename(output)


def _write_archive(path: Path, compression: str, chunks: Iterable[bytes], step: Step) -> None:
    done, told = 0, 0
    with _open_archive(path, compression) as stream:
        for chunk in chunks:
            stream.write(chunk)
            done += len(chunk)
            if done - told >= _NOTE_EVERY:
                told = done
                step.note(f"{done / 1e6:.0f} MB of files, {path.stat().st_size / 1e6:.0f} MB in the archive")
    if not done:
        message = "the engine exported no files"
        raise BundleFailed(message, hint="run it again; the engine's own log says more")


@contextmanager
def _open_archive(path: Path, compression: str) -> Iterator[IO[bytes]]:
    threads = os.cpu_count() or 1
    if compression == "gzip":
        packed = gzip_ng_threaded.open(path, "wb", compresslevel=_GZIP_LEVEL, threads=threads)  # type: ignore[no-untyped-call]
        with packed as stream:
            yield stream
    elif compression == "zstd":
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, threads=threads)
        with path.open("wb") as file, compressor.stream_writer(file) as stream:
            yield stream
    else:
        with path.open("wb") as stream:
            yield stream


def resolve_user(name: str, passwd: str, group: str) -> str:
    """Return ``UID:GID`` of the user that an image names, by the image's own files."""
    user, _, wanted_group = name.partition(":")
    people = [line.split(":") for line in passwd.splitlines() if line.count(":") >= 6]
    known = {entry[0]: (entry[2], entry[3]) for entry in people} | {
        entry[2]: (entry[2], entry[3]) for entry in people
    }
    uid, gid = known.get(user or "0", (user or "0", "0"))
    groups = {entry[0]: entry[2] for line in group.splitlines() if len(entry := line.split(":")) >= 3}
    gid = groups.get(wanted_group, wanted_group) or gid
    if not (uid.isdigit() and gid.isdigit()):
        message = f"the image's user {name!r} is not in its /etc/passwd and /etc/group"
        raise BundleFailed(
            message, hint="build the image again; `./build.py inspect ROW` shows what it holds"
        )
    return f"{uid}:{gid}"


def settings_text(manifest: Mapping[str, Any]) -> str:
    """Return what the start script needs of a manifest, as assignments for a shell."""
    config = manifest["config"]
    variables = dict(entry.partition("=")[::2] for entry in config["Env"] or ())
    values = {
        "archive": manifest["archive"]["file"],
        "sha256": manifest["archive"]["sha256"],
        "size_mb": str(int(manifest["size"]) // 1_000_000),
        "user": manifest["user"],
        "workdir": config["WorkingDir"] or "/",
        "image_path": variables.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        "image_libraries": variables.get("LD_LIBRARY_PATH", ""),
        # Lists of words, each quoted for eval.
        "environment": shlex.join(config["Env"] or ()),
        "entrypoint": shlex.join(config["Entrypoint"] or ()),
        "command": shlex.join(config["Cmd"] or ()),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
