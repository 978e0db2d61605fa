"""Stand-ins for what a server from source is compiled from. None of it is upstream's code.

Each repository has the name that upstream's has, a branch of the release, and a few lines of CMake that fetch the
others as upstream's do, record the definitions they were given, and install files where upstream's
install theirs. The program prints what it was compiled with.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

BRANCH = "r24.08"
BOOST = "boost_1_80_0.tar.gz"
ORGANIZATION = "https://github.com/triton-inference-server"

_RECORD = """
    # Writes record.h: every definition that came from the command line, as NAME=VALUE.
    get_cmake_property(names CACHE_VARIABLES)
    set(record "")
    foreach(name IN LISTS names)
      if(name MATCHES "^TRITON_" OR name MATCHES "^CMAKE_(BUILD_TYPE|INSTALL_PREFIX)$")
        string(APPEND record "${name}=${${name}}\\\\n")
      endif()
    endforeach()
    file(WRITE ${CMAKE_BINARY_DIR}/record.h "#define RECORD \\"${record}\\"\\n")
    include_directories(${CMAKE_BINARY_DIR})
"""

_FETCH = """
    include(FetchContent)
    function(fetch name url tag)
      FetchContent_Declare(repo-${name} GIT_REPOSITORY ${url} GIT_TAG ${tag})
      FetchContent_MakeAvailable(repo-${name})
      file(STRINGS ${repo-${name}_SOURCE_DIR}/CONTENT content)
      string(APPEND fetched "${name}: ${content}\\\\n")
      set(fetched "${fetched}" PARENT_SCOPE)
    endfunction()
"""

_SERVER = f"""
    cmake_minimum_required(VERSION 3.18)
    project(tritonserver LANGUAGES CXX)
    {_RECORD}
    {_FETCH}
    fetch(core ${{TRITON_REPO_ORGANIZATION}}/core.git ${{TRITON_CORE_REPO_TAG}})
    fetch(third-party ${{TRITON_REPO_ORGANIZATION}}/third_party.git ${{TRITON_THIRD_PARTY_REPO_TAG}})
    fetch(backend ${{TRITON_REPO_ORGANIZATION}}/backend.git ${{TRITON_BACKEND_REPO_TAG}})
    # As written into the sources of the oldest releases.
    fetch(common {ORGANIZATION}/common.git ${{TRITON_COMMON_REPO_TAG}})
    # Something of a third party, which only the mirror has.
    fetch(json https://github.com/stand-in/json.git v1)
    file(APPEND ${{CMAKE_BINARY_DIR}}/record.h "#define FETCHED \\"${{fetched}}\\"\\n")
    foreach(name IN ITEMS LOGGING STATS METRICS METRICS_GPU METRICS_CPU TRACING NVTX GPU GRPC HTTP SAGEMAKER
        VERTEX_AI GCS S3 AZURE_STORAGE)
      if(TRITON_ENABLE_${{name}})
        add_compile_definitions(HAS_${{name}})
      endif()
    endforeach()
    find_library(archive archive REQUIRED)
    add_library(tritonserver-library SHARED core.cc)
    set_target_properties(tritonserver-library PROPERTIES OUTPUT_NAME tritonserver)
    target_link_libraries(tritonserver-library PRIVATE ${{archive}})
    add_executable(tritonserver main.cc)
    target_link_libraries(tritonserver PRIVATE tritonserver-library)
    install(TARGETS tritonserver RUNTIME DESTINATION bin)
    install(TARGETS tritonserver-library LIBRARY DESTINATION lib)
"""

# What the inspection of an image looks for in a real core library.
_CORE = """
    extern "C" const char* archive_version_string();
    extern "C" const char* archive_version() { return archive_version_string(); }
    #define KEEP(name) extern "C" const char name[]; const char name[] = #name
    #ifdef HAS_STATS
    KEEP(InferenceStatsAggregator);
    #endif
    #ifdef HAS_NVTX
    KEEP(nvtxDomain);
    #endif
    #ifdef HAS_GCS
    KEEP(GCSFileSystem);
    #endif
    #ifdef HAS_S3
    KEEP(S3FileSystem);
    #endif
    #ifdef HAS_AZURE_STORAGE
    KEEP(ASFileSystem);
    #endif
"""

_MAIN = """
    #include <iostream>
    #include <string>
    #include "record.h"
    extern "C" const char* archive_version();
    int main(int count, char** words) {
      const std::string word = count > 1 ? words[1] : "";
      if (word == "--record") std::cout << RECORD;
      if (word == "--fetched") std::cout << FETCHED;
    #if __has_include(<boost/stand_in.hpp>)
      if (word == "--headers") std::cout << "boost\\n";
    #endif
    #if __has_include(<dcgm_agent.h>)
      if (word == "--headers") std::cout << "dcgm\\n";
    #endif
      if (word == "--file") std::cout << __FILE__ << "\\n" << archive_version() << "\\n";
      if (word != "--help") return 0;
      const char* flags[] = {
    #ifdef HAS_LOGGING
        "--log-verbose",
    #endif
    #ifdef HAS_METRICS
        "--allow-metrics",
    #endif
    #ifdef HAS_METRICS_CPU
        "--allow-cpu-metrics",
    #endif
    #ifdef HAS_METRICS_GPU
        "--allow-gpu-metrics",
    #endif
    #ifdef HAS_TRACING
        "--trace-config",
    #endif
    #ifdef HAS_GPU
        "--cuda-memory-pool-byte-size",
    #endif
    #ifdef HAS_HTTP
        "--allow-http",
    #endif
    #ifdef HAS_GRPC
        "--allow-grpc",
    #endif
    #ifdef HAS_SAGEMAKER
        "--allow-sagemaker",
    #endif
    #ifdef HAS_VERTEX_AI
        "--allow-vertex-ai",
    #endif
        "--model-repository"};
      for (const char* flag : flags) std::cerr << flag << " <value>\\n";
    }
"""

_PYTHON_BACKEND = f"""
    cmake_minimum_required(VERSION 3.17)
    project(tritonpythonbackend LANGUAGES C CXX)
    {_RECORD}
    {_FETCH}
    fetch(common ${{TRITON_REPO_ORGANIZATION}}/common.git ${{TRITON_COMMON_REPO_TAG}})
    fetch(core ${{TRITON_REPO_ORGANIZATION}}/core.git ${{TRITON_CORE_REPO_TAG}})
    fetch(backend ${{TRITON_REPO_ORGANIZATION}}/backend.git ${{TRITON_BACKEND_REPO_TAG}})
    find_package(Python3 COMPONENTS Interpreter Development REQUIRED)
    add_library(triton_python SHARED backend.cc)
    add_executable(triton_python_backend_stub stub.cc)
    target_link_libraries(triton_python_backend_stub PRIVATE Python3::Python)
    set(place ${{CMAKE_INSTALL_PREFIX}}/backends/python)
    install(TARGETS triton_python triton_python_backend_stub LIBRARY DESTINATION ${{place}} RUNTIME DESTINATION ${{place}})
    install(FILES triton_python_backend_utils.py DESTINATION ${{place}})
"""

_STUB = """
    #include <Python.h>
    #include <cstdio>
    #include "record.h"
    int main() { std::printf("%sPython=%s\\n", RECORD, Py_GetVersion()); }
"""


def _plugin(kind: str, library: str) -> dict[str, str]:
    """Return the sources of a cache or repository agent."""
    lists = f"""
        cmake_minimum_required(VERSION 3.17)
        project(plugin LANGUAGES CXX)
        {_RECORD}
        {_FETCH}
        fetch(common ${{TRITON_REPO_ORGANIZATION}}/common.git ${{TRITON_COMMON_REPO_TAG}})
        fetch(core ${{TRITON_REPO_ORGANIZATION}}/core.git ${{TRITON_CORE_REPO_TAG}})
        add_library({library} SHARED plugin.cc)
        install(TARGETS {library} LIBRARY DESTINATION ${{CMAKE_INSTALL_PREFIX}}/{kind})
    """
    return {
        "CMakeLists.txt": lists,
        "plugin.cc": '#include "record.h"\nextern "C" const char* record() { return RECORD; }',
    }


FILES: dict[str, dict[str, str]] = {
    "server": {
        "CMakeLists.txt": _SERVER,
        "core.cc": _CORE,
        "main.cc": _MAIN,
        "LICENSE": "a stand-in",
        "TRITON_VERSION": "2.49.0",
    },
    "core": {},
    "common": {},
    "backend": {},
    "third_party": {},
    "python_backend": {
        "CMakeLists.txt": _PYTHON_BACKEND,
        "backend.cc": '#include "record.h"\nextern "C" const char* record() { return RECORD; }',
        "stub.cc": _STUB,
        "triton_python_backend_utils.py": "",
    },
    "local_cache": _plugin("caches/local", "tritoncache_local"),
    "redis_cache": _plugin("caches/redis", "tritoncache_redis"),
    "checksum_repository_agent": _plugin("repoagents/checksum", "tritonrepoagent_checksum"),
}


@dataclass(frozen=True)
class Mirror:
    """A folder of bare repositories, and the commit at the tip of each component's branch."""

    folder: Path
    commits: dict[str, str]


def _git(folder: Path, *words: str) -> str:
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_DATE": "2024-08-30T00:00:00Z",
        "GIT_COMMITTER_DATE": "2024-08-30T00:00:00Z",
    }
    identity = ("-c", "user.name=stand-in", "-c", "user.email=stand-in@example.invalid")
    run = subprocess.run(
        ["git", *identity, *words], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


def _commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text).strip() + "\n", encoding="utf-8")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message=A stand-in")
    return _git(folder, "rev-parse", "HEAD")


def make_repository(bare: Path, branch: str, files: dict[str, str]) -> str:
    """Make a bare repository with one commit on ``branch``; return the commit."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _git(work, "init", "--quiet", f"--initial-branch={branch}")
        commit = _commit(work, {"CONTENT": f"{bare.stem} of {branch}", **files})
        bare.parent.mkdir(parents=True, exist_ok=True)
        _git(work, "clone", "--quiet", "--bare", str(work), str(bare))
    return commit


def make_mirror(folder: Path) -> Mirror:
    """Write every repository that the stand-in server is compiled from, and an archive in Boost's place."""
    upstream = folder / "triton-inference-server"
    commits = {
        name: make_repository(upstream / f"{name}.git", BRANCH, files) for name, files in FILES.items()
    }
    shutil.copytree(upstream, folder / "fork")
    make_repository(folder / "stand-in" / "json.git", "v1", {})
    with tarfile.open(folder / BOOST, "w:gz") as archive:
        for name in ("boost/stand_in.hpp", "libs/left_out.hpp"):
            archive.addfile(tarfile.TarInfo(f"boost_1_80_0/{name}"))
    return Mirror(folder, commits)


def matrix_text(commits: dict[str, str], *, wheel: str, boost: str, fingerprint: str) -> str:
    """Return versions.yaml of these tests: commits, SHA-256 of wheel and archive, fingerprint of the key."""
    text = (Path(__file__).with_name("source_versions.yaml")).read_text(encoding="utf-8")
    values = {"COMMITS": json.dumps(commits), "WHEEL": wheel, "BOOST": boost, "FINGERPRINT": fingerprint}
    for word, value in values.items():
        text = text.replace(f" {word}", f" {value}")
    return text


# A base image with an apt repository in it, signed with a key of its own, in the place of NVIDIA's for DCGM.
BASE_DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS maker
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends apt-utils gpg gpg-agent >/dev/null
WORKDIR /opt/stand-in
RUN mkdir -p package/DEBIAN package/usr/include && touch package/usr/include/dcgm_agent.h && \\
    printf '%s\\n' 'Package: datacenter-gpu-manager' 'Version: 1:3.2.6' 'Architecture: all' \\
        'Maintainer: a test <stand-in@example.invalid>' 'Description: a stand-in' > package/DEBIAN/control && \\
    dpkg-deb --build package dcgm.deb && rm -r package && \\
    apt-ftparchive packages . > Packages && apt-ftparchive release . > Release && \\
    gpg --batch --passphrase '' --quick-generate-key stand-in@example.invalid rsa2048 sign && \\
    gpg --batch --clearsign --output InRelease Release && \\
    gpg --armor --export > stand-in.pub && \\
    gpg --with-colons --fingerprint | awk -F: '$1 == "fpr" { print $10; exit }' > FINGERPRINT
FROM ${BASE_IMAGE}
COPY --from=maker /opt/stand-in /opt/stand-in
"""
