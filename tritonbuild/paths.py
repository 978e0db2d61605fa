"""Where things are, relative to the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ALLOWANCES: Final = ROOT / "audit.yaml"
MATRIX: Final = ROOT / "versions.yaml"
TEMPLATES: Final = ROOT / "templates"
DOCKERFILES: Final = ROOT / "dockerfiles"
BAKE_FILE: Final = ROOT / "docker-bake.json"
BACKEND: Final = ROOT / "backend_src"
SAMPLES: Final = ROOT / "samples"
IMAGE_FILES: Final = ROOT / "image"
BUNDLE_SCRIPT: Final = ROOT / "bundle" / "start.sh"
IMAGE_TESTS: Final = ROOT / "tests" / "image"
CONFORMANCE_TESTS: Final = ROOT / "tests" / "conformance"
BUILD: Final = ROOT / "build"


def shown(path: Path) -> str:
    """Return ``path`` as people read it: within the checkout without the folder the checkout is in."""
    absolute = path.absolute()
    return str(absolute.relative_to(ROOT)) if absolute.is_relative_to(ROOT) else str(path)
