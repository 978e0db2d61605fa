"""What a stage leaves for the stages after it: one JSON file a row, replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tritonbuild.files import write_atomic
from tritonbuild.identifiers import BuildId
from tritonbuild.paths import BUILD


def row_folder(row: BuildId | str, build_dir: Path | None = None) -> Path:
    """Return the folder with everything that a build of ``row``, or of a spec of this name, writes."""
    return (build_dir or BUILD) / str(row)


def summary_file(build_dir: Path | None = None) -> Path:
    """Return the file in which a build leaves what all its rows came to."""
    return (build_dir or BUILD) / "summary.json"


def compressed_file(build_dir: Path | None = None) -> Path:
    """Return the file that remembers what layers take as gzip, whatever row has them."""
    return (build_dir or BUILD) / "compressed.json"


def read_record(folder: Path) -> dict[str, Any]:
    """Return the row's record; empty when there is none or it cannot be read."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: neither JSON nor UTF-8
        return {}
    return record if isinstance(record, dict) else {}


def update_record(folder: Path, **facts: Any) -> None:
    """Add facts to the row's record."""
    record = {**read_record(folder), **facts}
    write_atomic(folder / "record.json", json.dumps(record, indent=2, sort_keys=True) + "\n")
