"""Run inside an image: print what a bill of materials lists, as one JSON object. Standard library only."""

import hashlib
import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path("/opt/tritonserver")
DOCS = pathlib.Path("/usr/share/doc")


def python_packages():
    """Return name, version and licence of every installed Python distribution."""
    found = {}
    for distribution in importlib.metadata.distributions():
        about = distribution.metadata
        name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
        classifiers = [
            c for c in about.get_all("Classifier", []) if c.startswith("License :: OSI Approved ::")
        ]
        text = about.get("License-Expression") or about.get("License") or ""
        if not text or len(text) > 80 or text == "UNKNOWN":  # some packages put the whole licence there
            text = " AND ".join(c.rsplit(" :: ", 1)[1] for c in classifiers)
        found[name] = {"name": name, "version": distribution.version, "licence": text.strip()}
    return [found[name] for name in sorted(found)]


def debian_licences(package):
    """Return the licences that a package's copyright file names, where it can be read by a program."""
    path = DOCS / package / "copyright"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if "copyright-format/1" not in text.split("\n\n", 1)[0]:
        return []
    named = {line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("License:")}
    return sorted(named - {""})


def debian_packages():
    """Return what dpkg has installed."""
    output = subprocess.run(
        [
            "dpkg-query",
            "-W",
            "-f",
            "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    names = ("name", "version", "architecture", "source", "source_version")
    found = [dict(zip(names, line.split("\t"), strict=True)) for line in output.splitlines()]
    return [{**entry, "licences": debian_licences(entry["name"])} for entry in found]


def files(*folders):
    """Return path, size in bytes and SHA-256 of every regular file below the folders."""
    found = []
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            data = path.read_bytes()
            found.append({"path": str(path), "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    return found


json.dump(
    {
        "python": python_packages(),
        "debian": debian_packages(),
        "native": files(ROOT / "bin", ROOT / "lib", ROOT / "backends/python", ROOT / "caches"),
        "models": files(ROOT / "models"),
        "release": dict(
            line.rstrip().replace('"', "").split("=", 1)
            for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
            if "=" in line
        ),
        "image": json.loads((ROOT / "image.json").read_text(encoding="utf-8")),
    },
    sys.stdout,
)
