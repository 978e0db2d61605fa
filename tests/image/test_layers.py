"""No layer keeps what only the build needed, not even where a later layer hides it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from docker.models.images import Image

from tests.image.certificates import ImageCertificates, read_certificates, traces
from tests.image.layers import Entry, Scan, scan_image
from tests.image.places import Place
from tritonbuild.paths import ROOT
from tritonbuild.secrets import find_ca_bundle, index_settings
from tritonbuild.spec import BuildSpec

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATE, PASSWORD, PATHS = "a certificate of the host", "a password of the host", "a path of the build"
BUILD_TOOLS = re.compile(r"(uvx?|patchelf)")
COMPILERS = re.compile(
    r"([a-z0-9_]+-linux-gnu-)?(cc|gcc|g\+\+|c\+\+|cc1|cc1plus|clang|clang\+\+|collect2|as|ld|ld\.(bfd|gold|lld)|strip|nvcc|ptxas)"
    r"(-\d+)?"
)
SETTINGS = {
    "uv.toml",
    "netrc",
    ".netrc",
    "_netrc",
    "pip.conf",
    "pip.ini",
    ".pypirc",
    "auth.conf",
    ".git-credentials",
}
# What BuildKit mounts for a step lies here, and is gone afterwards.
MOUNTED = ("run/", "tmp/", "var/tmp/")
# Made anew by every boot of a Debian; empty folders and locks say nothing about the build.
HARMLESS = re.compile(r"run/lock(/.*)?")


@pytest.fixture(scope="module")
def certificates(box: Place) -> ImageCertificates:
    return ImageCertificates(box)


@pytest.fixture(scope="module")
def private_certificates(certificates: ImageCertificates) -> set[str]:
    """What this host trusts and the image's own packages do not bring."""
    files = [file for file in (find_ca_bundle(None), SYSTEM_CERTIFICATES) if file]
    return read_certificates(files) - certificates.system - certificates.packages


def passwords() -> Iterable[str]:
    """Return the passwords in the index addresses of this host."""
    for value in index_settings().values():
        for word in value if isinstance(value, list) else [value]:
            match = re.match(r"\w+://[^/@]*:([^/@]+)@", word)
            if match:
                yield match[1]


@pytest.fixture(scope="module")
def scan(image: Image, private_certificates: set[str]) -> Scan:
    """All layers, read once."""
    needles = {
        CERTIFICATE: tuple(trace for text in private_certificates for trace in traces(text)),
        PASSWORD: tuple(password.encode() for password in passwords()),
        PATHS: (str(ROOT).encode(), b"/run/tools/", b"/run/wheels/"),
    }
    return scan_image(image, needles)


def find(scan: Scan, pattern: str) -> list[str]:
    """Return the files whose whole path matches."""
    expression = re.compile(pattern)
    return [str(entry) for entry in scan.files if expression.fullmatch(entry.path)]


def is_program(entry: Entry) -> bool:
    """Tell whether an entry can be run by name: an executable, or a link where programs lie."""
    if entry.is_dir:
        return False
    return bool(entry.mode & 0o111) if entry.is_file else "bin/" in entry.path


def test_scan_saw_the_whole_image(scan: Scan, image: Image) -> None:
    """Guards the tests below: a scan that reads nothing would find nothing."""
    # Engines write layers without content, or twice the same, only once.
    assert len(scan.layers) >= len(set(image.attrs["RootFS"]["Layers"])) - 1
    paths = {entry.path for entry in scan.entries}
    assert {"opt/tritonserver/bin/tritonserver", "opt/tritonserver/image.json", "etc/passwd"} <= paths
    assert sum(entry.size for entry in scan.entries) > 0.9 * image.attrs["Size"]


def test_no_layer_has_wheels(scan: Scan) -> None:
    assert find(scan, r".*\.whl") == []


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"(root|home/[^/]+)/\.(cache|local)/.*", id="caches_of_users"),
        pytest.param(r"(.*/)?(archive-v\d+|wheels-v\d+|http(-v2)?|selfcheck)/.*\.(http|msgpack|rkyv|body)", id="pip_and_uv"),
        pytest.param(r"var/cache/apt/(.*\.bin|archives/.*\.deb)", id="apt_packages"),
        pytest.param(r"var/lib/apt/lists/.*_.*", id="apt_lists"),
    ],
)  # fmt: skip
def test_no_layer_has_package_caches(scan: Scan, pattern: str) -> None:
    assert find(scan, pattern) == []


def test_no_layer_has_files_where_the_build_mounts(scan: Scan) -> None:
    left = [entry for entry in scan.entries if entry.path.startswith(MOUNTED)]
    assert [str(entry) for entry in left if not HARMLESS.fullmatch(entry.path.rstrip("/"))] == []


def test_no_layer_has_build_tools(scan: Scan) -> None:
    assert [str(e) for e in scan.entries if is_program(e) and BUILD_TOOLS.fullmatch(e.name)] == []


def test_no_layer_of_a_cpu_image_has_compilers(scan: Scan, spec: BuildSpec) -> None:
    if spec.is_cuda:
        pytest.skip("cuda images keep the C compiler that the kernels' just-in-time compiler calls")
    assert [str(e) for e in scan.entries if is_program(e) and COMPILERS.fullmatch(e.name)] == []


def test_no_layer_has_settings_of_the_build_host(scan: Scan) -> None:
    assert [str(entry) for entry in scan.files if entry.name in SETTINGS] == []


def test_image_trusts_only_the_roots_of_its_distribution(certificates: ImageCertificates) -> None:
    assert certificates.changed == []
    strangers = [
        file for file, texts in certificates.trusted.items() if not certificates.system.issuperset(texts)
    ]
    assert strangers == []
    assert certificates.trusted[str(SYSTEM_CERTIFICATES)], "the image trusts nobody"


def test_no_layer_has_a_certificate_of_the_host(scan: Scan, private_certificates: set[str]) -> None:
    if not private_certificates:
        pytest.skip("this host trusts no certificate that is not public")
    assert scan.hits[CERTIFICATE] == []


def test_no_layer_has_a_password_of_the_host(scan: Scan) -> None:
    assert scan.hits[PASSWORD] == []


def test_no_layer_names_paths_of_the_build(scan: Scan) -> None:
    assert scan.hits[PATHS] == []


def test_history_and_settings_tell_nothing_about_the_host(image: Image) -> None:
    configuration = image.attrs["Config"]
    texts = [
        *(step["CreatedBy"] or "" for step in image.history()),
        *configuration["Env"],
        *(configuration["Cmd"] or ()),
        *(configuration["Entrypoint"] or ()),
        *configuration["Labels"].values(),
    ]
    text = "\n".join(texts)
    assert str(ROOT) not in text
    assert not re.search(
        r"_proxy\b|index-url|find-links|(password|token|secret)=|BEGIN CERTIFICATE", text, re.IGNORECASE
    )
    # Labels may point to a home page; nothing else of an image has an address but its own health check.
    commands = "\n".join(line for line in texts if not line.startswith("LABEL "))
    addresses = set(
        re.findall(r"https?://([^\s/\"']+)", commands.replace(json.dumps(configuration["Labels"]), ""))
    )
    assert addresses <= {"127.0.0.1:8000"}
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        value = os.environ.get(variable)
        assert not value or value not in text
