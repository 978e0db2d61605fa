"""Where base and server images come from, which digest they must have, and what a mirror changes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tritonbuild import images
from tritonbuild.engine import Lookup
from tritonbuild.errors import DownloadFailed
from tritonbuild.images import FoundImage, PullPolicy, ensure_base, ensure_server
from tritonbuild.matrix import Matrix
from tritonbuild.references import repository_of
from tritonbuild.schema import Base, Server

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
MADE = "tritonbuild-base:bookworm"
MIRROR = "mirror.example:5000/hub"


class World:
    """An engine and the registries that it can reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client: Any = SimpleNamespace()
        self.here: dict[str, tuple[str, list[str]]] = {}
        """Reference -> image id and digests, of what the engine has."""
        self.registry: dict[str, str] = {}
        """Tagged reference -> digest, of what can be pulled."""
        self.pulled: list[str] = []
        self.made: list[str] = []
        for name in ("find_image", "pull_image", "ask_registry", "make_base"):
            monkeypatch.setattr(images, name, getattr(self, name))

    def has(self, reference: str, image_id: str = "sha256:1", *digests: str) -> None:
        self.here[reference] = (image_id, [f"{repository_of(reference)}@{d}" for d in digests])

    def find_image(self, _: object, name: str) -> Any:
        if name not in self.here:
            return None
        image_id, digests = self.here[name]
        return SimpleNamespace(id=image_id, attrs={"RepoDigests": digests})

    def pull_image(self, _: object, name: str) -> str | None:
        self.pulled.append(name)
        tagged, _at, digest = name.partition("@")
        if self.registry.get(tagged) is None or digest not in ("", self.registry[tagged]):
            return "no such image there"
        self.has(name, "sha256:pulled", self.registry[tagged])
        return None

    def ask_registry(self, _: object, name: str) -> Lookup:
        digest = self.registry.get(name)
        return Lookup(reached=True, digest=digest, reason=None if digest else "unknown")

    def make_base(self, _: object, base: Base, name: str, step: Any, *, trouble: str) -> str:
        self.made.append(trouble)
        return "sha256:made"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def base(matrix: Matrix) -> Base:
    """Debian's, pinned by a digest, which mmdebstrap can make."""
    return matrix.bases["debian-bookworm"].model_copy(update={"ref": "debian:12", "digest": A})


@pytest.fixture
def vendor(base: Base) -> Base:
    """One that nobody else can make, without a digest."""
    return base.model_copy(update={"ref": "nvcr.io/nvidia/min:1", "digest": None, "suite": None})


@pytest.fixture
def server(matrix: Matrix) -> Server:
    return matrix.servers["ngc"].model_copy(update={"ref": "nvcr.io/nvidia/server:1", "digest": None})


Get = Callable[..., FoundImage]


@pytest.fixture
def get(world: World, step: Any) -> Get:
    """A function that asks for a base image."""

    def ask(base: Base, *, override: str | None = None, **policy: Any) -> FoundImage:
        return ensure_base(world.client, base, PullPolicy(**policy), step, override=override)

    return ask


# --- the base image -----------------------------------------------------------------------


def test_a_base_that_is_here_is_not_pulled(world: World, base: Base, get: Get) -> None:
    world.has(f"debian:12@{A}", "sha256:1", A)
    found = get(base)
    assert found == FoundImage(
        reference=f"debian:12@{A}", image_id="sha256:1", origin=f"debian:12@{A}", digest=A
    )
    assert found.name == "debian:12"
    assert world.pulled == []


def test_a_missing_base_is_pulled_by_its_digest(world: World, base: Base, get: Get) -> None:
    world.registry["debian:12"] = A
    assert get(base).image_id == "sha256:pulled"
    assert world.pulled == [f"debian:12@{A}"]
    assert world.made == []


def test_a_base_that_cannot_be_pulled_is_made_and_that_is_said(
    world: World, base: Base, get: Get, step: Any
) -> None:
    assert get(base) == FoundImage(reference=MADE, image_id="sha256:made", origin="mmdebstrap bookworm")
    assert world.made == ["debian:12 cannot be pulled (no such image there)"]
    assert world.made[0] in step.text


def test_a_base_made_earlier_is_used_again_and_that_is_said(
    world: World, base: Base, get: Get, step: Any
) -> None:
    world.has(MADE)
    assert get(base).origin == "mmdebstrap bookworm"
    assert (world.pulled, world.made) == ([], [])
    assert "made earlier, is used" in step.text


def test_no_container_pull_pulls_nothing(world: World, base: Base, get: Get) -> None:
    world.registry["debian:12"] = A
    assert get(base, allowed=False).reference == MADE
    assert world.pulled == []
    assert "--no-container-pull" in world.made[0]


def test_pull_asks_the_registry_even_if_a_base_is_here(world: World, base: Base, get: Get) -> None:
    world.has(f"debian:12@{A}", "sha256:old", A)
    world.has(MADE)
    world.registry["debian:12"] = A
    assert get(base, always=True).image_id == "sha256:pulled"


def test_a_failed_pull_is_said_where_the_local_base_is_used(
    world: World, base: Base, get: Get, step: Any
) -> None:
    world.has(f"debian:12@{A}", "sha256:old", A)
    assert get(base, always=True).image_id == "sha256:old"
    assert "cannot be pulled (no such image there), the one that is here is used" in step.text


def test_a_given_base_is_used_or_refused_but_never_replaced(world: World, base: Base, get: Get) -> None:
    world.has(f"debian:12@{A}", "sha256:1", A)
    world.has(MADE)
    with pytest.raises(DownloadFailed) as failure:
        get(base, override="own:1")
    assert failure.value.message == "base image own:1 cannot be had: no such image there"
    assert "--image base,REF" in str(failure.value.hint)
    world.has("own:1", "sha256:own")
    assert get(base, override="own:1") == FoundImage(
        reference="own:1", image_id="sha256:own", origin="own:1", digest=None
    )
    assert world.made == []


def test_no_mirror_stands_in_for_a_given_base(world: World, base: Base, get: Get) -> None:
    world.registry["own:1"] = B
    assert get(base, override="own:1", mirror=MIRROR).reference == f"own:1@{B}"
    assert world.pulled == ["own:1"]


def test_a_vendors_base_cannot_be_made(world: World, vendor: Base, get: Get) -> None:
    with pytest.raises(DownloadFailed) as failure:
        get(vendor)
    assert failure.value.message == "base image nvcr.io/nvidia/min:1 cannot be had: no such image there"
    for remedy in ("docker login", "--registry-mirror HOST", "--image base,REF"):
        assert remedy in str(failure.value.hint)
    with pytest.raises(DownloadFailed, match="switched off by --no-container-pull"):
        get(vendor, allowed=False)
    assert world.made == []


# --- digests ------------------------------------------------------------------------------


def test_the_digest_of_an_image_without_a_pinned_one_is_told_and_used(
    world: World, vendor: Base, get: Get
) -> None:
    world.registry[vendor.ref] = B
    found = get(vendor)
    assert (found.digest, found.reference) == (B, f"{vendor.ref}@{B}")


def test_another_image_than_the_pinned_one_is_refused_with_both_digests(
    world: World, base: Base, get: Get
) -> None:
    world.registry["debian:12"] = B
    with pytest.raises(DownloadFailed) as failure:
        get(base)
    assert failure.value.message == f"debian:12 is not the pinned image: it is {B}, and {A} is wanted"
    assert "versions.yaml" in str(failure.value.hint)
    assert world.made == []


def test_an_engine_that_hands_out_another_image_is_not_believed(world: World, base: Base, get: Get) -> None:
    world.has(f"debian:12@{A}", "sha256:1", B)
    with pytest.raises(DownloadFailed, match="is not the pinned image"):
        get(base)


# --- the server image ---------------------------------------------------------------------


def test_a_server_out_of_a_wheel_needs_no_image(world: World, matrix: Matrix, step: Any) -> None:
    wheel = matrix.servers["pytriton-0.5.11"]
    assert ensure_server(world.client, wheel, PullPolicy(), step) is None
    assert world.pulled == []


def test_a_server_image_is_pulled_and_its_digest_told(world: World, server: Server, step: Any) -> None:
    world.registry["nvcr.io/nvidia/server:1"] = B
    found = ensure_server(world.client, server, PullPolicy(), step)
    assert found
    assert (found.digest, found.reference) == (B, f"nvcr.io/nvidia/server:1@{B}")


def test_a_pinned_server_image_is_held_to_its_digest(world: World, server: Server, step: Any) -> None:
    world.registry["nvcr.io/nvidia/server:1"] = B
    with pytest.raises(DownloadFailed, match=f"it is {B}, and {A} is wanted"):
        ensure_server(world.client, server.model_copy(update={"digest": A}), PullPolicy(), step)


def test_a_server_image_that_cannot_be_had_ends_with_its_name_and_the_remedies(
    world: World, server: Server, step: Any
) -> None:
    with pytest.raises(DownloadFailed) as failure:
        ensure_server(world.client, server, PullPolicy(), step)
    assert failure.value.message == "server image nvcr.io/nvidia/server:1 cannot be had: no such image there"
    for remedy in ("docker login", "--registry-mirror HOST", "--server-source"):
        assert remedy in str(failure.value.hint)


# --- mirrors ------------------------------------------------------------------------------


def test_a_mirror_stands_in_for_every_registry(
    world: World, base: Base, vendor: Base, server: Server, get: Get, step: Any
) -> None:
    world.registry = {
        f"{MIRROR}/library/debian:12": A,
        f"{MIRROR}/nvidia/min:1": B,
        f"{MIRROR}/nvidia/server:1": B,
    }
    assert get(base, mirror=MIRROR).origin == f"{MIRROR}/library/debian:12@{A}"
    assert get(vendor, mirror=MIRROR).origin == f"{MIRROR}/nvidia/min:1@{B}"
    found = ensure_server(world.client, server, PullPolicy(mirror=MIRROR), step)
    assert found
    assert found.origin == f"{MIRROR}/nvidia/server:1@{B}"
    assert all(name.startswith(f"{MIRROR}/") for name in world.pulled)


def test_a_mirror_is_held_to_the_pinned_digest(world: World, base: Base, get: Get) -> None:
    world.registry[f"{MIRROR}/library/debian:12"] = B
    with pytest.raises(DownloadFailed, match=f"{MIRROR}/library/debian:12 is not the pinned image"):
        get(base, mirror=MIRROR)


def test_what_was_pulled_from_the_registry_itself_needs_no_mirror(
    world: World, vendor: Base, get: Get
) -> None:
    world.has(vendor.ref, "sha256:1", B)
    assert get(vendor, mirror=MIRROR).origin == f"{vendor.ref}@{B}"
    assert world.pulled == []


def test_a_mirror_is_asked_though_a_base_was_made_earlier(world: World, base: Base, get: Get) -> None:
    world.has(MADE)
    world.registry[f"{MIRROR}/library/debian:12"] = A
    assert get(base, mirror=MIRROR).image_id == "sha256:pulled"


def test_an_image_that_the_mirror_lacks_is_named_as_the_mirror_would(
    world: World, server: Server, step: Any
) -> None:
    with pytest.raises(DownloadFailed, match=f"server image {MIRROR}/nvidia/server:1 cannot be had"):
        ensure_server(world.client, server, PullPolicy(mirror=MIRROR), step)
