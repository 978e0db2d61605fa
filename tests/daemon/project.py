"""A copy of this checkout with a matrix of its own, and its command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tritonbuild.paths import ROOT

_PARTS = (
    *("build.py", "NOTICE", "pyproject.toml", "requirements.txt"),
    *("backend_src", "image", "samples", "templates", "tests", "tritonbuild"),
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@dataclass(frozen=True)
class Project:
    """The copy; its builds leave their records in ``folder/build``."""

    folder: Path

    def write_matrix(self, matrix: dict[str, Any]) -> None:
        """Write versions.yaml and the Dockerfiles of its rows."""
        text = yaml.safe_dump(matrix, sort_keys=False)
        (self.folder / "versions.yaml").write_text(text, encoding="utf-8")
        self.check("render", "--quiet")

    def run(self, *words: str) -> Outcome:
        """Run ``./build.py WORDS...`` in the copy, with this Python's packages."""
        done = subprocess.run(
            [sys.executable, "build.py", *words],
            cwd=self.folder,
            env={**os.environ, "TRITONBUILD_NO_VENV": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str) -> Outcome:
        """Run a command that has to succeed."""
        outcome = self.run(*words)
        assert outcome.code == 0, f"./build.py {' '.join(words)}\n{outcome.out}{outcome.err}"
        return outcome

    def borrow_locks(self, row: str, lender: str) -> None:
        """Give a row the committed locks of a row of ours with the same engine, model and Python."""
        target = self.folder / "dockerfiles" / row.replace("-", "/", 1)
        target.mkdir(parents=True, exist_ok=True)
        for lock in (ROOT / "dockerfiles" / lender.replace("-", "/", 1)).glob("*.lock"):
            shutil.copy2(lock, target)


def copy_project(folder: Path) -> Project:
    """Copy what a build needs of this checkout, as it is now, into ``folder``."""
    for name in _PARTS:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, folder / name, ignore=ignored, symlinks=True)
        else:
            shutil.copy2(source, folder / name)
    return Project(folder)
