"""Packs the payload: `python -m benchmarks.offline.pack --output FOLDER`. Needs pip, uv and the network.

The folder gets `pNN/payload.NN`, parts of one tar with the wheels and the server, and
`ptree/tree.tar` with this checkout's benchmarks and backend. Only the latter changes often.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.offline.closure import check, read_wheel
from benchmarks.offline.names import FOLDER, matches, read_patterns

ROOT = FOLDER.parents[1]
PYTHON = "3.12"
PART_BYTES = 62_000_000
# The day after vLLM's release in requirements.in: later releases of what it needs are untested with it.
CUTOFF = "2026-06-06T00:00:00Z"
# The oldest C library is of Ubuntu 24.04; pip takes a wheel only for exactly the versions that are listed.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
TREE = ("backend_src", "benchmarks")
SKIPPED = {"results", "__pycache__"}


class Parts:
    """A file that continues in another one when it is full."""

    def __init__(self, folder: Path, part_bytes: int = PART_BYTES) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._left = 0
        self.paths: list[Path] = []

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            if not self._left:
                self._begin()
            piece = rest[: self._left]
            with self.paths[-1].open("ab") as part:
                part.write(piece)
            self._left -= len(piece)
            rest = rest[len(piece) :]
        return len(data)

    def _begin(self) -> None:
        number = f"{len(self.paths):02}"
        path = self._folder / f"p{number}" / f"payload.{number}"
        path.parent.mkdir(parents=True)
        self.paths.append(path)
        self._left = self._part_bytes


def resolve(folder: Path) -> list[str]:
    """Return the pinned requirements, without what the machine lends and what is left out."""
    lock = folder / "lock.txt"
    command = [
        "uv",
        "pip",
        "compile",
        str(FOLDER / "requirements.in"),
        "--override",
        str(FOLDER / "overrides.txt"),
    ]
    command += ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    command += [
        "--exclude-newer",
        CUTOFF,
        "--no-header",
        "--no-annotate",
        "--quiet",
        "--output-file",
        str(lock),
    ]
    _call(command)
    left_out = read_patterns("lent.txt") + read_patterns("omitted.txt")
    lines = [line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not matches(line.split("==")[0], left_out)]


def download(requirements: Sequence[str], folder: Path) -> list[Path]:
    """Download the wheels for the machine; a project without a wheel for it is an error."""
    listing = folder.with_suffix(".txt")
    listing.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    _call([*command, "--requirement", str(listing)])
    return sorted(folder.glob("*.whl"))


def server_requirement() -> str:
    """Return the wheel that holds Triton, as the version matrix pins it."""
    matrix = yaml.safe_load((ROOT / "versions.yaml").read_text(encoding="utf-8"))
    release = matrix["releases"][matrix["defaults"]["release"]]
    server = matrix["servers"][release["images"]["cpu-pypi"]["server"]]
    return f"{server['requirement']} --hash=sha256:{server['sha256']}"


def write_payload(output: Path) -> bool:
    """Write the parts. Returns whether the wheels are complete."""
    with tempfile.TemporaryDirectory(prefix="packing-", dir=output) as temporary:
        folder = Path(temporary)
        wheels = download(resolve(folder), folder / "wheels")
        server = download([server_requirement()], folder / "server")
        complete = _report([*wheels])
        for old in output.glob("p[0-9][0-9]"):
            shutil.rmtree(old)
        parts = Parts(output)
        with tarfile.open(fileobj=parts, mode="w|") as archive:  # type: ignore[call-overload]
            for path in [*wheels, *server]:
                archive.add(path, f"pay/{path.parent.name}/{path.name}")
    for path in parts.paths:
        _say(f"{path.relative_to(output)}: {path.stat().st_size:,} bytes")
    return complete


def write_tree(output: Path, tree: Path) -> None:
    """Write the part that changes."""
    path = output / "ptree" / "tree.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in TREE:
            archive.add(tree / name, f"pay/tree/{name}", filter=_wanted)
        archive.add(tree / "benchmarks" / "offline" / "run.sh", "pay/run.sh")
    _say(f"{path.relative_to(output)}: {path.stat().st_size:,} bytes")


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(entry.name).name
    return None if name in SKIPPED or name.startswith(".") else entry


def _report(wheels: Sequence[Path]) -> bool:
    found = check(
        [read_wheel(path) for path in wheels],
        read_patterns("lent.txt"),
        read_patterns("omitted.txt"),
        [line.split("==")[0] for line in read_patterns("overrides.txt")],
    )
    _say(f"{len(wheels)} wheels, {sum(path.stat().st_size for path in wheels):,} bytes")
    for heading in ("lent", "omitted", "missing", "conflicting"):
        _say(f"{heading}: {', '.join(getattr(found, heading)) or 'nothing'}")
    return not found.missing and not found.conflicting


def _call(command: Sequence[str]) -> None:
    beside = shutil.which(command[0], path=str(Path(sys.executable).parent))
    subprocess.run([beside or command[0], *command[1:]], check=True)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.offline.pack", description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout to pack, default: this one")
    parser.add_argument("--only-tree", action="store_true", help="write tree.tar alone")
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    complete = options.only_tree or write_payload(output)
    write_tree(output, options.tree.resolve())
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
