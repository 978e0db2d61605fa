"""Labels of an image and its machine-readable description, /opt/tritonserver/image.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tritonbuild.compileplan import CompilePlan
from tritonbuild.spec import BuildSpec

PREFIX = "io.tritonbuild"
REVISION = "org.opencontainers.image.revision"


def static_labels(spec: BuildSpec) -> dict[str, str]:
    """Return the labels that follow from the row alone; they stand in the Dockerfile."""
    labels = {
        "com.nvidia.tritonserver.version": spec.triton,
        f"{PREFIX}.row": str(spec.row),
        f"{PREFIX}.triton": spec.triton,
        f"{PREFIX}.vllm": spec.vllm,
        "org.opencontainers.image.description": f"Triton Inference Server {spec.triton} with vLLM {spec.vllm}",
        "org.opencontainers.image.licenses": "Apache-2.0 AND BSD-3-Clause",
        "org.opencontainers.image.title": "Triton Inference Server with vLLM",
        "org.opencontainers.image.version": spec.row.release,
    }
    known = {"torch": spec.torch, "cuda": spec.cuda, "driver-min": spec.driver_min}
    known["unverified"] = "; ".join(spec.unverified)
    labels |= {f"{PREFIX}.{name}": value for name, value in known.items() if value}
    if not spec.is_committed:
        labels[f"{PREFIX}.compiled"] = _compiled_otherwise(spec)
    return dict(sorted(labels.items()))


def _compiled_otherwise(spec: BuildSpec) -> str:
    """Return in one line what flags changed in the way that the row's server is compiled.

    The definitions of each part that the committed Dockerfile has not, and the sources without a pin.
    """

    def definitions(plan: CompilePlan | None) -> dict[str, set[str]]:
        return {part.name: set(map(str, part.definitions)) for part in plan.parts} if plan else {}

    usual = definitions(spec.default_plan)
    words = [
        f"{part}:{definition}"
        for part, own in definitions(spec.plan).items()
        for definition in sorted(own - usual.get(part, set()))
    ]
    words += [f"without:{name}" for name in usual if name not in definitions(spec.plan)]
    words += [f"unpinned:{source.repository}={source.tag}" for source in spec.sources if not source.commit]
    return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class Origins:
    """The images that a build really started from, as opposed to those its row names."""

    base: str
    """A reference, or ``mmdebstrap SUITE``."""
    base_name: str
    base_digest: str | None = None
    server: str | None = None
    server_digest: str | None = None


def build_labels(origins: Origins, *, revision: str) -> dict[str, str]:
    """Return the labels that only a build knows: where the images came from, and which commit built."""
    labels = {
        REVISION: revision,
        f"{PREFIX}.base": origins.base,
        "org.opencontainers.image.base.digest": origins.base_digest,
        "org.opencontainers.image.base.name": origins.base_name,
        f"{PREFIX}.server": origins.server,
    }
    return {key: value for key, value in labels.items() if value}


def given_labels(build_id: str | None, build_sha: str | None) -> dict[str, str]:
    """Return the labels that upstream's build.py makes of --build-id and --build-sha."""
    given = {"com.nvidia.build.id": build_id, "com.nvidia.build.ref": build_sha}
    return {name: value for name, value in given.items() if value is not None}


def describe_image(
    spec: BuildSpec, *, lock_sha256: str | None, revision: str, origins: Origins, model: str | None
) -> str:
    """Return the text of image.json: every pin that went into the image.

    Source of each value: the row, except ``lock_sha256`` (hex, of requirements.lock; None where the base
    provides vLLM), ``revision`` (git commit), ``origins`` and ``model`` (name of the baked model).
    """
    pins: dict[str, Any] = {
        "schema": 1,
        "row": str(spec.row),
        "release": spec.row.release,
        "variant": spec.row.variant,
        "source": spec.row.source,
        "revision": revision,
        "base": origins.base,
        "base_digest": origins.base_digest,
        "python": spec.base.python,
        "triton": {
            "version": spec.triton,
            "from": origins.server or spec.server.origin,
            "digest": origins.server_digest,
            "sha256": spec.server.sha256,
            "sources": {source.repository: asdict(source) for source in spec.sources},
            "definitions": {
                part.name: list(map(str, part.definitions)) for part in (spec.plan.parts if spec.plan else ())
            },
            "features": spec.server.features.model_dump(mode="json"),
        },
        "vllm": {
            "package": spec.vllm_package,
            "version": spec.vllm,
            "torch": spec.torch,
            "cuda": spec.cuda,
            "driver_min": spec.driver_min,
            "compute_capability_min": spec.compute_capability_min,
        },
        "lock": {"sha256": lock_sha256, "cutoff": spec.as_of.isoformat()} if spec.engine else None,
        "overrides": [o.model_dump(mode="json") for o in spec.overrides],
        "excludes": [e.model_dump(mode="json", exclude_none=True) for e in spec.excludes],
        "conflicts": [c.model_dump(mode="json") for c in spec.conflicts],
        "model": model,
        "unverified": list(spec.unverified),
    }
    return json.dumps(pins, indent=2, sort_keys=True) + "\n"
