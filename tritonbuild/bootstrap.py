"""Give the driver its own virtual environment. Standard library only; runs before all else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements.txt"
_MARK = VENV / "requirements.sha256"
_MINIMUM = (3, 10)


def _fail(message: str, hint: str) -> None:
    print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    sys.exit(7)


def _fingerprint() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def is_ready() -> bool:
    """Tell whether .venv holds exactly what requirements.txt asks for."""
    return _MARK.is_file() and _MARK.read_text(encoding="utf-8") == _fingerprint()


def _create() -> None:
    print("preparing .venv from requirements.txt (once)", file=sys.stderr)
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, check=False)
    if made.returncode != 0 and os.geteuid() == 0 and shutil.which("apt-get"):
        # Debian's Python leaves ensurepip out; the package below brings it.
        print("installing python3-venv with apt-get", file=sys.stderr)
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv"], check=False
        )
        shutil.rmtree(VENV, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, check=False)
    if made.returncode != 0:
        _fail(
            "cannot make a virtual environment", "install Python's venv module: apt-get install python3-venv"
        )
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=False)
    if installed.returncode != 0:
        _fail("cannot install requirements.txt", "see pip's message above; PIP_INDEX_URL names another index")
    _MARK.write_text(_fingerprint(), encoding="utf-8")


def ensure_environment() -> None:
    """Run on in .venv, made first where it is missing or out of date.

    TRITONBUILD_NO_VENV=1 keeps the Python that was called, for those who bring their own packages.
    """
    if sys.version_info < _MINIMUM:
        found = ".".join(map(str, sys.version_info[:2]))
        _fail(f"Python {found} is too old", "use Python 3.10 or newer")
    if os.environ.get("TRITONBUILD_NO_VENV"):
        return
    if not is_ready():
        _create()
    if Path(sys.prefix).resolve() != VENV.resolve():
        python = str(VENV / "bin/python")
        os.execv(python, [python, *sys.argv])


if __name__ == "__main__":
    if not is_ready():
        _create()
