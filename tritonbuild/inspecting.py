"""What a built image really holds, compared with what its row promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import docker
from packaging.utils import canonicalize_name

from tritonbuild.engine import run_python
from tritonbuild.errors import ImageRejected, OverBudget
from tritonbuild.files import sha256_file
from tritonbuild.locking import promised_versions
from tritonbuild.paths import IMAGE_FILES
from tritonbuild.spec import BuildSpec

Facts = dict[str, Any]

_SCRIPT = IMAGE_FILES / "inspect_image.py"


def script_sha256() -> str:
    """Return the fingerprint of the script that reads the facts."""
    return sha256_file(_SCRIPT)


def read_facts(client: docker.DockerClient, image: str) -> Facts:
    """Return the facts that ``image/inspect_image.py`` prints inside the image."""
    facts: Facts = json.loads(run_python(client, image, _SCRIPT.read_text(encoding="utf-8")))
    return facts


def find_differences(spec: BuildSpec, facts: Facts) -> list[str]:
    """Return one line for each thing in the image that its row does not promise."""
    problems = []
    if facts["python"] != spec.base.python:
        problems.append(f"Python is {facts['python']}, the row says {spec.base.python}")
    installed = {str(canonicalize_name(name)): version for name, version in facts["packages"].items()}
    for name, version in promised_versions(spec).items():
        found = installed.get(name)
        if found != version:
            problems.append(f"{name} is {found or 'missing'}, the row says {version}")
    declared = spec.server.features.model_dump(mode="json")
    for kind, values in facts["features"].items():
        problems += _compare(f"the server's {kind} are", values, declared[kind])
    able = [name for name, has in spec.abilities.items() if has]
    problems += _compare("the server's abilities are", facts["abilities"], able)
    if facts["uid"] == 0:
        problems.append("the image runs as root")
    if not spec.is_cuda and facts["compilers"]:
        problems.append(f"compilers are left inside: {', '.join(facts['compilers'])}")
    return problems


def _compare(what: str, found: list[str], declared: Sequence[str]) -> list[str]:
    if sorted(declared) == found:
        return []
    return [f"{what} {', '.join(found) or 'none'}; versions.yaml says {', '.join(declared) or 'none'}"]


def check_facts(spec: BuildSpec, facts: Facts) -> None:
    """Raise ImageRejected when the image is not what its row promises."""
    problems = find_differences(spec, facts)
    if problems:
        message = "\n".join(f"{spec.row}: {problem}" for problem in problems)
        raise ImageRejected(message, hint="correct versions.yaml or the template that let this in")


def check_size(spec: BuildSpec, size: int) -> None:
    """Raise OverBudget when the image is larger than its row allows; ``size`` in bytes.

    The budget is of the row's own vLLM, so an unverified image has none.
    """
    if not spec.unverified and size > spec.size_budget_mb * 1_000_000:
        message = f"{spec.row}: the image has {size / 1e6:.0f} MB, its budget is {spec.size_budget_mb} MB"
        raise OverBudget(
            message, hint=f"`./build.py inspect {spec.row}` lists its parts; or raise defaults.size_budget_mb"
        )
