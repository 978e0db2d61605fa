"""Run inside an image: print what is really in it, as one JSON object. Standard library only."""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path("/opt/tritonserver")
# The help goes to stderr, and to stdout in other releases.
HELP = subprocess.run(
    [str(ROOT / "bin/tritonserver"), "--help"],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
).stdout
FLAGS = {
    "cpu-metrics": "--allow-cpu-metrics",
    "gpu": "--cuda-memory-pool-byte-size",
    "gpu-metrics": "--allow-gpu-metrics",
    "logging": "--log-verbose",
    "metrics": "--allow-metrics",
    "tracing": "--trace-config",
}
ENDPOINTS = {
    "grpc": "--allow-grpc",
    "http": "--allow-http",
    "sagemaker": "--allow-sagemaker",
    "vertex-ai": "--allow-vertex-ai",
}
ABILITIES = {
    # It shares its requests with the core, which may be done with one before the client is.
    "cancellation": ("bin/tritonserver", b"_Sp_counted_deleterIP29TRITONSERVER_InferenceRequest"),
    "coroutines": ("backends/python/triton_python_backend_stub", b"run_coroutine_threadsafe"),
    "float-parameters": ("bin/tritonserver", b"TRITONSERVER_InferenceRequestSetDoubleParameter"),
    "histograms": ("backends/python/triton_python_backend_stub", b"HISTOGRAM"),
    "transaction-policy": (
        "backends/python/triton_python_backend_utils.py",
        b"def set_model_transaction_policy",
    ),
    # The names are made with it.
    "unique-shared-memory": ("backends/python/libtriton_python.so", b"boost5uuids"),
}
FILESYSTEMS = {"azure_storage": b"ASFileSystem", "gcs": b"GCSFileSystem", "s3": b"S3FileSystem"}


def features():
    """Read the server's features off its help text and its core library."""
    core = next((ROOT / "lib").glob("libtritonserver*.so")).read_bytes()
    options = {name for name, flag in FLAGS.items() if flag + " " in HELP}
    # Without statistics the core has no aggregator of them.
    if b"InferenceStatsAggregator" in core:
        options.add("stats")
    if b"nvtxDomain" in core or b"nvtxInit" in core:
        options.add("nvtx")
    return {
        "endpoints": sorted(name for name, flag in ENDPOINTS.items() if flag + " " in HELP),
        "filesystems": sorted(name for name, mark in FILESYSTEMS.items() if mark in core),
        "options": sorted(options),
    }


def abilities():
    """Read what the server has since some release off its files."""
    return sorted(name for name, (file, mark) in ABILITIES.items() if mark in (ROOT / file).read_bytes())


def tree_size(top):
    """Return the bytes of all files below a folder, each inode once, mounts left out."""
    seen, total = set(), 0
    device = os.lstat(top).st_dev
    for folder, names, files in os.walk(top):
        names[:] = [n for n in names if os.lstat(os.path.join(folder, n)).st_dev == device]
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_size
    return total


def parts():
    """Return name -> bytes: Python packages, parts of the server, models, and the rest."""
    sizes = {}
    packages = pathlib.Path(f"/usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/dist-packages")
    for entry in packages.iterdir():
        if entry.name.endswith((".dist-info", "__pycache__")):
            continue
        name = entry.name.split(".")[0]
        size = tree_size(entry) if entry.is_dir() else entry.stat().st_size
        sizes[f"python: {name}"] = sizes.get(f"python: {name}", 0) + size
    for entry in ROOT.iterdir():
        size = tree_size(entry) if entry.is_dir() else entry.stat().st_size
        key = "models" if entry.name == "models" else "server"
        sizes[key] = sizes.get(key, 0) + size
    total = tree_size("/")
    sizes["base system and the rest"] = total - sum(sizes.values())
    return sizes


def versions():
    """Return name -> version of every installed Python distribution."""
    return {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}


def debian():
    """Return name -> version of every installed Debian package; a mirror has only the newest."""
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${binary:Package} ${Version} ${db:Status-Status}\n"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    rows = [line.split(" ") for line in listed.splitlines()]
    return {name: version for name, version, status in rows if status == "installed"}


print(
    json.dumps(
        {
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
            "uid": os.getuid(),
            "features": features(),
            "abilities": abilities(),
            "parts": parts(),
            "packages": versions(),
            "debian": debian(),
            "compilers": [c for c in ("cc", "gcc", "g++", "clang", "nvcc", "ld") if shutil.which(c)],
            "backend_files": sorted(p.name for p in (ROOT / "backends/vllm").iterdir()),
        }
    )
)
