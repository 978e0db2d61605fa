"""A matrix whose ``ngc`` rows are those of ours, but for what the stand-ins cannot have."""

from __future__ import annotations

from typing import Any

import yaml

from tests.daemon.workshop import lender
from tritonbuild.paths import MATRIX

BUILT_IN = "0.30.0+fb2e3ab6.nv26.3.cpu"
"""The vLLM that the base of the row 26.03 has to have. By the `cpu` vLLM knows where it runs."""
_EVIDENCE = [{"source": "tests/daemon/images", "value": "a stand-in"}]


def ngc_matrix(*, digests: dict[str, str] | None = None) -> dict[str, Any]:
    """Return versions.yaml as data.

    ``24.08-cpu-ngc`` is composed of a minimal base, vLLM out of the lock of ``24.08-cpu-pypi``, and a server
    image; ``26.03-cuda-ngc`` of a base that brings vLLM, and a server image. ``digests`` pins the minimal base.
    Debian's Python stands in for Ubuntu's, and the Triton of 24.08 for that of 26.03.
    """
    ours = yaml.safe_load(MATRIX.read_text(encoding="utf-8"))
    spec = lender()
    cell = ours["defaults"]["images"]["cpu-pypi"]
    debian = ours["bases"][cell["base"]]
    common = {
        "python": debian["python"],
        "packages": debian["packages"],
        "cuda_packages": debian["cuda_packages"],
        "evidence": _EVIDENCE,
    } | ({"glibc": debian["glibc"]} if "glibc" in debian else {})
    facts = {
        key: value for key, value in ours["releases"]["24.08"].items() if key not in ("images", "conflicts")
    }
    return {
        **ours,
        "defaults": {
            "release": "24.08",
            "image": "tritonbuild-standin",
            "size_budget_mb": {"cpu": 3000, "cuda": 3000},
        },
        "bases": {
            "minimal": {
                "ref": "nvcr.io/nvidia/tritonserver:{release}-py3-min",
                "digests": digests or {},
                **common,
            },
            "with-vllm": {
                "ref": "nvcr.io/nvidia/vllm:{upstream}-py3",
                "provides_vllm": True,
                "client": _client_pins(),
                **common,
            },
        },
        "servers": {
            "image": {
                "source": "ngc",
                "ref": "nvcr.io/nvidia/tritonserver:{release}-py3",
                "features": spec.server.features.model_dump(mode="json"),
                "evidence": _EVIDENCE,
            }
        },
        "releases": {
            "24.08": {
                **facts,
                "images": {
                    "cpu-ngc": {
                        "base": "minimal",
                        "server": "image",
                        "engine": cell["engine"],
                        "model": cell["model"],
                    }
                },
            },
            "26.03": {
                **facts,
                "vllm": {"public": "0.16.0", "ngc": BUILT_IN},
                "images": {
                    "cuda-ngc": {"base": "with-vllm", "server": "image", "model": cell["model"]},
                },
            },
        },
    }


def _client_pins() -> list[str]:
    ours = yaml.safe_load(MATRIX.read_text(encoding="utf-8"))
    with_vllm = [base for base in ours["bases"].values() if base.get("provides_vllm")]
    pins: list[str] = (
        with_vllm[0]["client"]
        if with_vllm
        else ["tritonclient==2.67.0", "grpcio==1.67.1", "python-rapidjson==1.23"]
    )
    return pins
