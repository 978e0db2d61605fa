"""Dockerfiles out of templates and specs; offline and pure, apart from the final write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import jinja2

from tritonbuild.errors import StaleError
from tritonbuild.files import write_if_different
from tritonbuild.labels import static_labels
from tritonbuild.paths import DOCKERFILES, ROOT, TEMPLATES
from tritonbuild.spec import BuildSpec

ModelFrom = Literal["none", "package", "folder"]


def make_environment() -> jinja2.Environment:
    """Return the template environment: an undefined name is an error, never an empty string."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (the output is a Dockerfile, and every value has a schema)
    )


def render_dockerfile(
    spec: BuildSpec,
    environment: jinja2.Environment | None = None,
    *,
    model_from: ModelFrom | None = None,
) -> str:
    """Return the Dockerfile of ``spec``; ``model_from`` overrides where a baked model comes from."""
    source: ModelFrom = model_from or ("package" if spec.model else "none")
    template = (environment or make_environment()).get_template("Dockerfile.j2")
    text = template.render(spec=spec, labels=static_labels(spec), model_from=source)
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip() + "\n"


def _outputs(specs: Iterable[BuildSpec]) -> dict[Path, str]:
    environment = make_environment()
    return {spec.folder / "Dockerfile": render_dockerfile(spec, environment) for spec in specs}


def find_orphans(specs: Iterable[BuildSpec]) -> list[Path]:
    """Return the folders under dockerfiles/ that no row of the matrix owns."""
    owned = {spec.folder for spec in specs}
    return sorted(p for p in DOCKERFILES.glob("*/*") if p.is_dir() and p not in owned)


def render_all(specs: list[BuildSpec]) -> list[Path]:
    """Write every row's Dockerfile; return the files that changed."""
    return [path for path, text in _outputs(specs).items() if write_if_different(path, text)]


def check_rendered(specs: list[BuildSpec], *, all_rows: bool = False) -> None:
    """Raise StaleError when a committed Dockerfile differs from what would be rendered."""
    stale = [
        path
        for path, text in _outputs(specs).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    stale += find_orphans(specs) if all_rows else []
    if stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        message = f"not what versions.yaml and templates/ say: {names}"
        raise StaleError(message, hint="run `./build.py render` (or `make render`) and commit the result")
