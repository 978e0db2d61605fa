from __future__ import annotations

import pytest

from tritonbuild.references import mirror_reference, pinned_digest, repository_of, without_digest

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("reference", "mirrored"),
    [
        ("nvcr.io/nvidia/tritonserver:24.08-py3", "m.example/nvidia/tritonserver:24.08-py3"),
        (f"nvcr.io/nvidia/x:1@{DIGEST}", f"m.example/nvidia/x:1@{DIGEST}"),
        ("debian:12", "m.example/library/debian:12"),
        ("docker.io/library/debian:12", "m.example/library/debian:12"),
        ("nvidia/cuda:12", "m.example/nvidia/cuda:12"),
        ("localhost:5000/a/b", "m.example/a/b"),
    ],
)
def test_a_mirror_keeps_an_image_under_its_path(reference: str, mirrored: str) -> None:
    assert mirror_reference(reference, "m.example") == mirrored
    assert mirror_reference(reference, None) == reference


def test_a_mirror_may_be_a_folder_of_a_registry() -> None:
    assert mirror_reference("nvcr.io/nvidia/x:1", "m.example:5000/a/b") == "m.example:5000/a/b/nvidia/x:1"


@pytest.mark.parametrize(
    ("reference", "repository", "digest"),
    [
        (f"host:5000/a/b:1@{DIGEST}", "host:5000/a/b", DIGEST),
        ("host:5000/a/b", "host:5000/a/b", None),
        ("debian:12", "debian", None),
        (f"debian@{DIGEST}", "debian", DIGEST),
    ],
)
def test_a_reference_is_taken_apart(reference: str, repository: str, digest: str | None) -> None:
    assert repository_of(reference) == repository
    assert pinned_digest(reference) == digest
    assert "@" not in without_digest(reference)
