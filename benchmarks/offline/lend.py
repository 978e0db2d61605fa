"""Links the distributions of lent.txt from this Python into another: `python lend.py SITE_PACKAGES`."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from names import matches, read_patterns


def lend(target: Path) -> list[str]:
    """Link packages with their metadata. Returns names and versions."""
    patterns, lent = read_patterns("lent.txt"), []
    for distribution in metadata.distributions():
        if not matches(distribution.metadata["Name"] or "", patterns):
            continue
        # Several distributions may share a folder, as those of NVIDIA do.
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__", "/"}
        for top in tops:
            link = target / top
            if not link.is_symlink() and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).absolute())
        lent.append(f"{distribution.metadata['Name']} {distribution.version}{'' if tops else ' (NO FILES)'}")
    return sorted(lent)


if __name__ == "__main__":
    sys.stdout.write("lent: " + ", ".join(lend(Path(sys.argv[1]))) + "\n")
