"""Tags for a digest that has proven itself: the same manifest under another name, never a new image."""

from __future__ import annotations

import json

from tritonbuild.errors import NotPromoted
from tritonbuild.labels import PREFIX
from tritonbuild.oci import Manifest
from tritonbuild.registry import Repository
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_tag, immutable_tag, latest_tag


def promote(spec: BuildSpec, repository: Repository, manifest: Manifest, revision: str) -> tuple[str, ...]:
    """Give a proven manifest its tags, the one that never moves first; return them.

    Raises NotPromoted when the tag that never moves is another image.
    """
    fixed = immutable_tag(spec, revision)
    there = repository.find(fixed)
    if there and there.digest != manifest.digest and not revision.endswith("-dirty"):
        message = f"{repository.at(fixed)} is another image already: {there.digest}"
        hint = "the same commit gave two images: compare them, or remove that tag if it was a mistake"
        raise NotPromoted(message, hint=hint)
    tags = [fixed, image_tag(spec)]
    latest = latest_tag(spec)
    if latest and _is_newest(spec, repository, latest):
        tags.append(latest)
    for tag in tags:
        now = repository.find(tag)
        if now is None or now.digest != manifest.digest:
            repository.put(manifest, tag)
    return tuple(tags)


def _is_newest(spec: BuildSpec, repository: Repository, tag: str) -> bool:
    """Tell whether a moving tag is to be on this row: never back to an older release."""
    current = repository.find(tag)
    if current is None:
        return True
    labels = json.loads(repository.get_blob(current.blobs()[0])).get("config", {}).get("Labels") or {}
    return str(labels.get(f"{PREFIX}.row", "")).partition("-")[0] <= spec.row.release
