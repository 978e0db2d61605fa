"""What dpkg knows inside an image: which packages, and which package brought a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

_STATUS = "var/lib/dpkg/status"
_LIST = re.compile(r"var/lib/dpkg/info/(?P<package>[^/:]+)(:[^/]+)?\.list")
_INFO = re.compile(r"var/lib/dpkg/info/(?P<package>[^/:]+?)(:[^/]+)?\.[a-z0-9]+")
# Folders that are links into usr/ since Debian 12, while dpkg keeps the old names.
_MERGED = re.compile(r"(bin|sbin|lib|lib32|lib64|libx32)/")
_BYTE_CODE = re.compile(r"(?P<folder>.*/)__pycache__/(?P<stem>[^/]+)\.cpython-\d+(\.opt-\d)?\.pyc")


def read_packages(texts: Mapping[str, str]) -> dict[str, str]:
    """Return name -> version of the packages that are installed, from ``var/lib/dpkg/status``."""
    packages = {}
    for paragraph in texts.get(_STATUS, "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"\S+: ", line))
        if fields.get("Status", "").endswith(" installed"):
            packages[fields["Package"]] = fields["Version"]
    return packages


def read_owners(texts: Mapping[str, str]) -> dict[str, str]:
    """Return path -> package of every file that dpkg lists. Folders belong to nobody in particular."""
    owners: dict[str, str] = {}
    shared = set()
    for name, text in texts.items():
        match = _LIST.fullmatch(name)
        if match is None:
            continue
        for line in text.splitlines():
            path = line.lstrip("/")
            path = f"usr/{path}" if _MERGED.match(path) else path
            if owners.setdefault(path, match["package"]) != match["package"]:
                shared.add(path)
    return {path: package for path, package in owners.items() if path not in shared}


def find_owner(path: str, owners: Mapping[str, str]) -> str | None:
    """Return the package that a path belongs to: by dpkg's lists, as its byte code, or as its record."""
    if match := _INFO.fullmatch(path):
        return match["package"]
    if match := _BYTE_CODE.fullmatch(path):
        path = f"{match['folder']}{match['stem']}.py"
    return owners.get(path)
