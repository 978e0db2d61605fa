"""Images that stand in for NVIDIA's, which cannot be had everywhere. Their server and their vLLM are real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tritonbuild import buildkit
from tritonbuild.console import Console
from tritonbuild.context import stage_context
from tritonbuild.engine import tag_image
from tritonbuild.errors import CommandFailed
from tritonbuild.identifiers import BuildId
from tritonbuild.images import PullPolicy, ensure_base
from tritonbuild.loading import load_matrix
from tritonbuild.paths import MATRIX
from tritonbuild.rendering import render_dockerfile
from tritonbuild.secrets import collect_secrets
from tritonbuild.spec import BuildSpec, resolve_spec
from tritonbuild.wheels import locate_wheels, wheel_folders

REPOSITORY = "tritonbuild-standin"
STANDINS = Path(__file__).parent / "images"
# The row whose server and vLLM the stand-ins have; it needs no image of a vendor.
LENDER = BuildId("24.08", "cpu", "pypi")


def lender() -> BuildSpec:
    return resolve_spec(load_matrix(MATRIX), LENDER)


@dataclass(frozen=True)
class Workshop:
    """Builds images from Dockerfiles of these tests, and from stages of a row of ours."""

    client: docker.DockerClient
    folder: Path
    console: Console
    made: list[str]
    """The names of all images that were built here."""

    def build(
        self,
        name: str,
        context: Path,
        arguments: Mapping[str, str],
        *,
        file: str = "Dockerfile",
        target: str | None = None,
        secrets: Mapping[str, Path] | None = None,
    ) -> str:
        """Build an image, return the name under which FROM and the engine know it."""
        builder = buildkit.find_builder()
        argv = buildkit.build_argv(
            builder,
            context=context,
            build_args=arguments,
            labels={},
            secrets=secrets or {},
            iidfile=self.folder / "id",
            target=target,
        )
        argv[argv.index("--file") + 1] = str(context / file)
        reference = f"{REPOSITORY}:{name}"
        with self.console.step("stand-in", f"stand-in: {name}") as step:
            try:
                image = buildkit.build(builder, argv, self.folder / "id", step, log=self.folder / "log")
            except CommandFailed as failure:
                pytest.fail("\n".join([failure.message, *failure.tail]), pytrace=False)
        self.tag(image, reference)
        return reference

    def tag(self, image: str, reference: str) -> None:
        """Give an image a name until the end of the tests."""
        tag_image(self.client, image, reference)
        self.made.append(reference)

    def debian(self) -> str:
        """Return the reference of the Debian that our own rows stand on."""
        with self.console.step("base", "stand-in: Debian") as step:
            return ensure_base(self.client, lender().base, PullPolicy(), step).reference

    def stage(self, target: str, debian: str) -> str:
        """Return the name of a stage of the lender's Dockerfile, as an image."""
        spec, context = lender(), self.folder / "lender"
        with self.console.step("wheels", "stand-in: wheels") as step:
            wheels = locate_wheels(spec.wheels, wheel_folders([]), step)
        stage_context(
            context,
            spec,
            dockerfile=render_dockerfile(spec),
            image_json="{}\n",
            wheels=wheels,
            baked=None,
        )
        secrets = collect_secrets(self.folder, ca_cert=None, given={})
        return self.build(f"lender-{target}", context, {"BASE_IMAGE": debian}, target=target, secrets=secrets)

    def minimal(self, debian: str) -> str:
        """Return the name of an image like ``tritonserver:YY.MM-py3-min``."""
        return self.build("min", STANDINS, {"DEBIAN": debian}, file="min.Dockerfile")

    def server(self, minimal: str, server: str) -> str:
        """Return the name of an image like ``tritonserver:YY.MM-py3``."""
        return self.build("server", STANDINS, {"MIN": minimal, "SERVER": server}, file="server.Dockerfile")

    def vllm(self, python: str, version: str) -> str:
        """Return the name of an image like ``vllm:YY.MM-py3`` whose vLLM calls itself ``version``."""
        name = f"vllm-{version.replace('+', '-')}"
        return self.build(name, STANDINS, {"PYTHON": python, "VERSION": version}, file="vllm.Dockerfile")
