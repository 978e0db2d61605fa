"""Builds a vLLM for this machine's CPU, and prints the Python that has it.

    python -m tests.engines.cpu_engine VERSION

Only the engine itself is compiled, from its source distribution on the package index; all it needs comes from
the lock of the `cuda` row with that vLLM, torch too: it was made for GPUs, and does without. vLLM's own build
would refuse that torch, so its few files for CPUs are compiled here. What is built stays in build/engines/.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tritonbuild.files import sha256_file
from tritonbuild.identifiers import BuildId
from tritonbuild.indexes import certificates_for, configured_indexes, uv_environment
from tritonbuild.loading import load_matrix
from tritonbuild.paths import BUILD, DOCKERFILES, MATRIX
from tritonbuild.resolving import find_uv
from tritonbuild.spec import BuildSpec, resolve_spec

# What only GPUs have a use for.
LEFT_OUT = frozenset({"vllm", "vllm-flash-attn", "xformers", "ray", "vllm-nccl-cu12"})
TESTS = ("pytest", "pytest-timeout")
# Needs oneDNN, and only quantized models need it; code for AVX512 asks for it.
QUANT = "quant.cpp"
# What csrc/cpu asks of a processor, without what GCC 12 has errors in.
AVX512 = ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mf16c")
AVX2 = ("-mavx2", "-mfma", "-mf16c")
TORCH_FLAGS = """
import sysconfig, torch
from torch.utils.cpp_extension import include_paths
for path in [*include_paths(), sysconfig.get_paths()["include"]]:
    print("-isystem" + path)
print(f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}")
print(f"-L{torch.__path__[0]}/lib")
"""


def run(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a program, with its messages on our stderr; return what it prints."""
    words = [str(word) for word in argv]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout


def find_row(version: str) -> BuildSpec:
    """Return a row whose lock has this vLLM. Raises SystemExit where none has."""
    matrix = load_matrix(MATRIX)
    specs = [
        resolve_spec(matrix, row) for row in matrix.rows() if row.variant == "cuda" and row.source != "ngc"
    ]
    fitting = [spec for spec in specs if spec.engine and spec.vllm == version]
    if not fitting:
        sys.exit(f"no cuda row has vLLM {version}; there are {', '.join(sorted({s.vllm for s in specs}))}")
    return min(fitting, key=lambda spec: spec.row.source)


def requirements_of(row: BuildId) -> str:
    """Return the row's lock without what needs a GPU."""
    lock = DOCKERFILES / row.release / f"{row.variant}-{row.source}" / "requirements.lock"
    entries = re.findall(r"^[A-Za-z][^\n]*(?:\n +[^\n]*)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(entry for entry in entries if re.split(r"[=\[ ]", entry)[0] not in LEFT_OUT) + "\n"


def fetch_source(version: str, folder: Path) -> Path:
    """Return the folder with vLLM's source, verified against the index's digest."""
    wanted = folder / "vllm.in"
    wanted.write_text(f"vllm=={version}\n", encoding="utf-8")
    asked = (find_uv(), "pip", "compile", wanted, "--no-deps", "--quiet", "--format", "pylock.toml")
    answer = run(*asked, "--python-version", "3.11", env={**os.environ, **uv_environment()})
    found = re.search(r'sdist = \{ url = "([^"]+)".*?sha256 = "(\w+)"', answer)
    if found is None:
        sys.exit(f"the index has no source of vLLM {version}")
    url, sha256 = found.groups()
    archive = folder / url.rsplit("/", 1)[1]
    reply = requests.get(url, timeout=60, verify=certificates_for(url, configured_indexes()[1]))
    reply.raise_for_status()
    archive.write_bytes(reply.content)
    if sha256_file(archive) != sha256:
        sys.exit(f"{archive.name} is not what the index says it is")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"vllm-{version}"


def compile_engine(source: Path, python: Path, target: Path) -> None:
    """Compile csrc/cpu into ``target``."""
    wide = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    wide = wide and not (source / "csrc/cpu" / QUANT).exists()
    flags = [*run(python, "-c", TORCH_FLAGS).split("\n"), *(AVX512 if wide else AVX2)]
    flags = ["-O1", "-std=c++17", "-fPIC", "-fopenmp", *filter(None, flags), f"-I{source}/csrc"]
    flags += ["-DVLLM_CPU_EXTENSION", "-DTORCH_EXTENSION_NAME=_C"]

    def compile_file(file: Path) -> Path:
        made = file.with_suffix(".o")
        run("g++", *flags, "-c", file, "-o", made)
        return made

    files = [file for file in sorted(source.glob("csrc/cpu/*.cpp")) if file.name != QUANT]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_file, files))
    libraries = ("-lnuma", "-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python")
    run("g++", "-shared", *flags, *objects, *libraries, "-o", target)


def write_stand_ins(spec: BuildSpec, site: Path) -> None:
    """Write what the image has in place of packages that the lock leaves out."""
    for exclude in spec.excludes:
        if exclude.stand_in:
            module, _, name = exclude.stand_in.partition(":")
            file = site.joinpath(*module.split(".")).with_suffix(".py")
            file.parent.mkdir()
            file.write_text(f"{name} = []\n", encoding="utf-8")


def build(version: str) -> Path:
    """Return the Python of an environment with vLLM ``version`` for CPUs."""
    spec = find_row(version)
    folder = BUILD / "engines" / version
    python = folder / "venv/bin/python"
    done = folder / "done"
    if done.exists():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.lock"
    requirements.write_text(requirements_of(spec.row), encoding="utf-8")
    uv, environment = find_uv(), {**os.environ, **uv_environment()}
    run(uv, "venv", "--quiet", "--clear", "--python", spec.base.python, folder / "venv", env=environment)
    install = (uv, "pip", "install", "--quiet", "--python", python)
    locked = ("--no-deps", "--no-build", "--require-hashes", "--requirement", requirements)
    run(*install, *locked, env=environment)
    run(*install, *TESTS, env=environment)
    source = fetch_source(version, folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['platlib'])").strip())
    compile_engine(source, python, source / "vllm/_C.abi3.so")
    (source / "vllm").rename(site / "vllm")
    write_stand_ins(spec, site)
    # vLLM knows by its version that it is for CPUs.
    told = site / f"vllm-{version}+cpu.dist-info"
    told.mkdir()
    told.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8"
    )
    done.touch()
    return python


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build a vLLM for this machine's CPU.")
    parser.add_argument("version", help="a version that a cuda row of versions.yaml has, 0.4.3 or newer")
    sys.stdout.write(f"{build(parser.parse_args(argv).version)}\n")


if __name__ == "__main__":
    main()
