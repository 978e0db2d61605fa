"""The stages of a build in their order; only this module knows it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tritonbuild import buildkit, inspecting, smoke
from tritonbuild.baking import named_origins
from tritonbuild.console import Console
from tritonbuild.context import BakedFolder, stage_context
from tritonbuild.engine import image_facts, read_layers, tag_image
from tritonbuild.files import sha256_file
from tritonbuild.holding import holding
from tritonbuild.host import ensure_engine
from tritonbuild.images import FoundImage, PullPolicy, ensure_base, ensure_server
from tritonbuild.labels import Origins, build_labels, describe_image
from tritonbuild.layers import Layers, listed
from tritonbuild.locking import LOCK, check_lock
from tritonbuild.preparing import prepare_recipe
from tritonbuild.records import read_record, row_folder, update_record
from tritonbuild.rendering import ModelFrom, check_rendered, render_dockerfile
from tritonbuild.revision import read_revision
from tritonbuild.secrets import collect_secrets
from tritonbuild.smoke import SmokeResult
from tritonbuild.sources import Compiling
from tritonbuild.spec import BuildSpec
from tritonbuild.tags import image_reference
from tritonbuild.wheels import locate_wheels, wheel_folders

Made: TypeAlias = Literal["built", "reused", "released"]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build; none of it changes what the row promises."""

    build_dir: Path | None = None
    wheelhouses: Sequence[Path] = ()
    baked: BakedFolder | None = None
    ca_cert: Path | None = None
    build_secrets: Mapping[str, Path] | None = None
    base_override: str | None = None
    tags: Sequence[str] = ()
    pulling: PullPolicy = field(default_factory=PullPolicy)
    no_cache: bool = False
    compiling: Compiling = field(default_factory=Compiling)
    smoke: bool = True
    named: bool = True
    """Whether the image gets its names; else who proves it later gives them."""
    force_smoke: bool = False
    smoke_jobs: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A built, inspected and (unless switched off) proven image."""

    spec: BuildSpec
    tags: tuple[str, ...]
    image_id: str
    revision: str
    """The commit that the image says it was built from."""
    reused: bool
    """Whether the last build of the row made this very image."""
    size: int
    layers: Layers | None
    """Bytes of each layer; None where the engine does not tell."""
    facts: inspecting.Facts
    base: FoundImage
    server: FoundImage | None
    smoke: SmokeResult | None
    smoke_reused: bool
    seconds: Mapping[str, float]
    log: Path

    @property
    def ending(self) -> Made:
        """What to call this of the row."""
        return "reused" if self.reused else "built"


def model_source(spec: BuildSpec, baked: BakedFolder | None) -> ModelFrom:
    """Return where the baked model of an image comes from."""
    if baked:
        return "folder"
    return "package" if spec.model else "none"


def image_arguments(spec: BuildSpec, base: str, server: str | None) -> dict[str, str]:
    """Return the build arguments of every Dockerfile: the images it starts from, and the row's date.

    BuildKit takes the latter for the date of the image; before 0.11 (Docker 23) it takes no notice.
    """
    images = {"BASE_IMAGE": base} | ({"SERVER_IMAGE": server} if server else {})
    return images | {"SOURCE_DATE_EPOCH": str(spec.epoch)}


def _origins(base: FoundImage, server: FoundImage | None) -> Origins:
    return Origins(
        base=base.origin,
        base_name=base.name,
        base_digest=base.digest,
        server=server.origin if server else None,
        server_digest=server.digest if server else None,
    )


def working_on(spec: BuildSpec, build_dir: Path | None) -> AbstractContextManager[Path]:
    """Hold the folder of a row, in which one process works at a time."""
    return holding(row_folder(spec.name, build_dir), f"{spec.name} is being built or tested")


def build_row(
    spec: BuildSpec,
    options: BuildOptions,
    console: Console,
    *,
    built: Callable[[], None] = lambda: None,
) -> BuildResult:
    """Take one row through every stage; each can be interrupted and run again.

    ``built`` is called once the engine has the layers, before anything is proven.
    """
    with working_on(spec, options.build_dir) as folder:
        log = folder / "build.log"
        with console.logging_to(log):
            return _build_locked(spec, options, console, folder, log, built)


def stage_row(spec: BuildSpec, options: BuildOptions, console: Console) -> Path:
    """Gather the build context of a row for a build on another machine; return its folder."""
    with working_on(spec, options.build_dir) as folder:
        check_rendered([spec])
        check_lock(spec)
        _gather(spec, options, folder / "context", named_origins(spec), console)
        return folder / "context"


def _gather(spec: BuildSpec, options: BuildOptions, context: Path, origins: Origins, console: Console) -> str:
    """Fill the build context; return the commit it was made from."""
    with console.step("context", f"{spec.name}: gather wheels, backend and samples") as step:
        wheels = locate_wheels(spec.wheels, wheel_folders(options.wheelhouses), step)
        model = options.baked.name if options.baked else (spec.model.name if spec.model else None)
        revision = read_revision()
        stage_context(
            context,
            spec,
            dockerfile=render_dockerfile(spec, model_from=model_source(spec, options.baked)),
            image_json=describe_image(
                spec,
                lock_sha256=sha256_file(spec.folder / LOCK) if spec.engine else None,
                revision=revision,
                origins=origins,
                model=model,
            ),
            wheels=wheels,
            baked=options.baked,
            sources=options.compiling.mirror_folder,
        )
    return revision


def _build_locked(
    spec: BuildSpec,
    options: BuildOptions,
    console: Console,
    folder: Path,
    log: Path,
    built: Callable[[], None],
) -> BuildResult:
    with console.step("check", f"{spec.name}: check Dockerfile and lock") as step:
        if spec.unverified:
            spec = prepare_recipe(spec, options.wheelhouses, step, anew=options.no_cache)
        else:
            if spec.is_committed:
                check_rendered([spec])
            check_lock(spec)

    with console.step("engine", f"{spec.name}: engine and images to build from") as step:
        client = ensure_engine(step)
        builder = buildkit.find_builder()
        base = ensure_base(client, spec.base, options.pulling, step, override=options.base_override)
        server = ensure_server(client, spec.server, options.pulling, step)
        origins = _origins(base, server)
        step.outcome = f"base is {base.origin}" + (f", server is {server.origin}" if server else "")

    revision = _gather(spec, options, folder / "context", origins, console)

    # The image gets its name at the end, when it has proven itself.
    tags = tuple(options.tags) or (image_reference(spec),)
    iidfile = folder / "image.id"
    with (
        console.step("build", f"{spec.name}: build the image") as step,
        tempfile.TemporaryDirectory() as secrets,
    ):
        argv = buildkit.build_argv(
            builder,
            context=folder / "context",
            build_args={
                **image_arguments(spec, base.reference, server.reference if server else None),
                **options.compiling.arguments(spec),
            },
            labels={**build_labels(origins, revision=revision), **options.labels},
            secrets=collect_secrets(
                Path(secrets), ca_cert=options.ca_cert, given=options.build_secrets or {}
            ),
            iidfile=iidfile,
            no_cache=options.no_cache,
        )
        image_id = buildkit.build(builder, argv, iidfile, step, log=log)
        step.outcome = image_id.removeprefix("sha256:")[:12]
    built()

    with console.step("inspect", f"{spec.name}: inspect what is inside") as step:
        before = read_record(folder)
        made_before = before.get("image_id") == image_id
        facts = _known_facts(folder, image_id) or inspecting.read_facts(client, image_id)
        image = client.images.get(image_id)
        size = image_facts(image)["size"]
        layers = read_layers(image)
        update_record(
            folder,
            image_id=image_id,
            size=size,
            layers=listed(layers),
            compressed=before.get("compressed") if made_before else None,
            facts=facts,
            inspector=inspecting.script_sha256(),
            tags=tags,
            revision=revision,
        )
        inspecting.check_facts(spec, facts)
        inspecting.check_size(spec, size)
        budget = "" if spec.unverified else f" of {spec.size_budget_mb} MB"
        step.outcome = f"{size / 1e6:.0f} MB{budget}"

    result, reused = None, False
    if options.smoke:
        record = read_record(folder)
        reused = smoke.is_proven(record, image_id) and not options.force_smoke
        if reused:
            result = smoke.read_result(record["smoke"])
        else:
            result = smoke.prove(spec, image_id, image_id, folder, console, jobs=options.smoke_jobs)
            update_record(folder, smoke=result.as_record())
    if options.named:
        with console.step("tag", f"{spec.name}: tag {', '.join(tags)}"):
            for tag in tags:
                tag_image(client, image_id, tag)
    return BuildResult(
        spec=spec,
        tags=tags,
        image_id=image_id,
        revision=revision,
        reused=made_before,
        size=size,
        layers=layers,
        facts=facts,
        base=base,
        server=server,
        smoke=result,
        smoke_reused=reused,
        seconds=dict(console.seconds),
        log=log,
    )


def _known_facts(folder: Path, image_id: str) -> dict[str, Any] | None:
    """Return the facts that the same script read in the very same image."""
    record = read_record(folder)
    facts: dict[str, Any] | None = record.get("facts")
    same = (record.get("image_id"), record.get("inspector")) == (image_id, inspecting.script_sha256())
    return facts if same else None
