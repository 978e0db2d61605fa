"""Run in a base image that brings vLLM: end with one line unless it is the one that the row pins.

Standard library only. Argument: the pinned version, local part included.
"""

import importlib.metadata
import sys


def version(package):
    """Return the version of an installed package, or None; importing it would need a GPU."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


pinned = sys.argv[1]
found = version("vllm")
if found is None or found.lower() != pinned.lower():
    held = f"vLLM {found}" if found else "no vLLM"
    sys.exit(f"error: the base image has {held}, versions.yaml pins {pinned}")
# The backend and the sample client take these from the base.
missing = [package for package in ("numpy", "protobuf") if version(package) is None]
if missing:
    sys.exit(f"error: the base image has vLLM {found}, but no {' and no '.join(missing)}")
