"""Run while an image is built: take tritonserver out of NVIDIA's image, with the libraries it needs.

Standard library only. Arguments: the root of NVIDIA's image, the folder for the server, and the folder for
libraries that the base image, in which this runs, lacks.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

SERVER = "opt/tritonserver"
# Of everything else (other backends, headers, sources, wheels) this image needs nothing.
PARTS = (
    "bin/tritonserver",
    "lib",
    "caches",
    "backends/python",
    "LICENSE*",
    "*License*.pdf",
    "TRITON_VERSION",
)
LIBRARIES = (
    *("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/local/lib"),
    *("usr/local/cuda/lib64", "usr/local/cuda/targets/x86_64-linux/lib"),
)
# DCGM opens its modules by name, so no program lists them.
OPENED = ("libdcgm*.so.*",)
# These come with the driver of the machine that runs the container.
DRIVER = re.compile(r"lib(cuda|nvidia-[a-z-]+|nvcuvid)\.so\.\d+")


def copy(source, target):
    """Copy a file, link or folder as root's, which everybody may read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def is_elf(path):
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def find_missing(tree, libraries):
    """Return the names of libraries that something in the tree links to and nobody here has."""
    files = [path for folder in (tree, libraries) for path in sorted(folder.rglob("*")) if is_elf(path)]
    # The server has loaded its own library by the time it opens a backend.
    folders = [str(tree / "lib"), str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, folders)), "LC_ALL": "C"}
    missing = set()
    for file in files:
        printed = subprocess.run(
            ["ldd", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            check=False,
        ).stdout
        missing |= set(re.findall(r"^\s*(\S+) => not found$", printed, re.MULTILINE))
    return sorted(name for name in missing if not DRIVER.fullmatch(name))


def find_library(image, name):
    """Return the file of NVIDIA's image that a library's name leads to, or None."""
    for folder in LIBRARIES:
        path = image / folder / name
        # An absolute link would lead into this image, not into NVIDIA's.
        for _ in range(8):
            if not path.is_symlink():
                break
            link = os.readlink(path)
            path = image / link.lstrip("/") if link.startswith("/") else path.parent / link
        if path.is_file():
            return path
    return None


def main(image, tree, libraries):
    server = image / SERVER
    for part in PARTS:
        found = sorted(server.glob(part))
        if not found and part in ("bin/tritonserver", "lib", "backends/python"):
            sys.exit(f"error: the server image has no /{SERVER}/{part}")
        for path in found:
            copy(path, tree / path.relative_to(server))
    libraries.mkdir(parents=True)
    for folder in LIBRARIES:
        for pattern in OPENED:
            for path in sorted((image / folder).glob(pattern)):
                if not (libraries / path.name).exists():
                    copy(path, libraries / path.name)
    while missing := find_missing(tree, libraries):
        for name in missing:
            path = find_library(image, name)
            if path is None:
                sys.exit(f"error: the server needs {name}, which neither the base nor the server image has")
            print(f"{name} comes with the server image")
            shutil.copy2(path, libraries / name)
    for folder in (tree, libraries):
        subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(folder)], check=True)


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
