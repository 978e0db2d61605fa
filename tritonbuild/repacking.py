"""A wheel out of a source archive whose project has none, without running any of its code."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tritonbuild.errors import DownloadFailed
from tritonbuild.schema import Wheel

# The earliest that a ZIP file can hold; the wheel is the same bytes whenever and wherever it is made.
_TIME = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: tritonbuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def repack(archive: Path, wheel: Wheel, target: Path) -> None:
    """Write the wheel of ``archive``, a verified source archive, to ``target``.

    Only what ``wheel.sdist.modules`` names gets into it, so that is for pure Python without a build.
    """
    name, _, version = wheel.requirement.partition("==")
    modules = wheel.sdist.modules if wheel.sdist else ()
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    files = _read_modules(archive, archive.name.removesuffix(".tar.gz"), modules)
    metadata = files.pop("PKG-INFO", None)
    missing = [m for m in modules if not any(f == f"{m}.py" or f.startswith(f"{m}/") for f in files)]
    if metadata is None or missing:
        message = f"{archive.name} holds no {', '.join(missing) or 'PKG-INFO'}"
        raise DownloadFailed(message, hint=f"correct `modules` of {wheel.requirement} in versions.yaml")
    files |= {f"{info}/METADATA": metadata, f"{info}/WHEEL": _WHEEL.encode()}
    record = "".join(f"{path},{_record_hash(files[path])},{len(files[path])}\n" for path in sorted(files))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    partial = target.with_suffix(f".{os.getpid()}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as output:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system = 3  # Unix, also where this runs on something else
            entry.external_attr = 0o100644 << 16
            output.writestr(entry, content)
    partial.replace(target)


def _read_modules(archive: Path, root: str, modules: Iterable[str]) -> dict[str, bytes]:
    """Return path -> content of the modules' files, and of PKG-INFO."""
    wanted = ("PKG-INFO", *(f"{module}.py" for module in modules))
    folders = tuple(f"{module}/" for module in modules)
    files = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            path = member.name.removeprefix(f"{root}/")
            stream = tar.extractfile(member) if member.isfile() else None
            if stream and ".." not in path.split("/") and (path in wanted or path.startswith(folders)):
                files[path] = stream.read()
    return files


def _record_hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
