"""What a build says at its end, and what a dry run says instead of building."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tritonbuild.paths import shown
from tritonbuild.pipeline import BuildResult
from tritonbuild.spec import BuildSpec
from tritonbuild.variation import is_known

_QUESTION = (
    '{"text_input": "What is Triton Inference Server?", "parameters": {"stream": false, "temperature": 0}}'
)


def largest_parts(result: BuildResult, count: int = 10) -> list[tuple[str, int]]:
    """Return the largest parts of the image, name and bytes, largest first."""
    parts: dict[str, int] = result.facts["parts"]
    return sorted(parts.items(), key=lambda item: -item[1])[:count]


def parts_table(result: BuildResult) -> Table:
    parts = largest_parts(result)
    total = sum(result.facts["parts"].values())
    table = Table(title="largest parts", title_justify="left", box=None, pad_edge=False)
    table.add_column("MB", justify="right")
    table.add_column("part")
    for name, size in parts:
        table.add_row(f"{size / 1e6:.0f}", name)
    table.add_row(f"{(total - sum(size for _, size in parts)) / 1e6:.0f}", "all other parts")
    table.add_row(f"{result.size / 1e6:.0f}", f"the image, {result.size / total:.2f} x the sum of its parts")
    return table


def closing_lines(result: BuildResult, *, compressed_size: int | None = None) -> list[str]:
    """Return the closing summary: what was built, how long it took, how to try it.

    ``compressed_size`` are the bytes in a registry, where they were measured.
    """
    packed = f", {compressed_size / 1e6:.0f} MB compressed" if compressed_size is not None else ""
    smoke = "not run"
    if result.smoke:
        smoke = f"{result.smoke.passed} passed, {len(result.smoke.skipped)} skipped"
        smoke += " (already proven, same image and tests)" if result.smoke_reused else ""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result.seconds.items())
    lines = [
        f"image    {', '.join(result.tags)}",
        f"id       {result.image_id}",
        f"size     {result.size / 1e6:.0f} MB uncompressed{packed}",
        f"holds    Triton {result.spec.triton}, vLLM {result.spec.vllm}, torch {result.spec.torch or 'of the base'}",
        f"base     {result.base.origin}",
        *([f"server   {result.server.origin}"] if result.server else []),
        f"smoke    {smoke}",
        f"seconds  {seconds}",
        f"log      {shown(result.log)}",
    ]
    lines += [f"unverified {remark}" for remark in result.spec.unverified]
    lines += [f"skipped  {reason}" for reason in (result.smoke.skipped if result.smoke else ())]
    gpus = " --gpus all" if result.spec.is_cuda else ""
    lines += [
        "",
        "try it:",
        f"  docker run --rm --shm-size=1g{gpus} -p 8000:8000 -p 8001:8001 -p 8002:8002 {result.tags[0]}",
        f"  curl -X POST localhost:8000/v2/models/vllm_model/generate -d '{_QUESTION}'",
    ]
    return lines


def _engine_text(spec: BuildSpec) -> str:
    if spec.engine is None:
        return f"{spec.vllm} of the base image"
    torch = f"torch {spec.torch}" if is_known(spec.engine) else "torch as it resolves"
    return f"{spec.vllm_package} {spec.vllm}, {torch}, as of {spec.as_of:%Y-%m-%d}"


def plan_lines(
    spec: BuildSpec,
    argv: Sequence[str],
    *,
    tags: Sequence[str],
    base: str,
    server: str | None,
    model: str | None,
) -> list[str]:
    """Return what a build of ``spec`` would do."""
    lines = [
        f"row      {spec.row}",
        f"image    {', '.join(tags)}",
        f"triton   {spec.triton} from {server or spec.server.origin}",
        f"vllm     {_engine_text(spec)}",
        f"base     {base}",
        f"model    {model or 'none baked in'}",
        f"budget   {'none' if spec.unverified else f'{spec.size_budget_mb} MB'}",
    ]
    lines += [f"unverified {remark}" for remark in spec.unverified]
    lines += [
        f"source   {source.repository} {source.tag}, {source.commit or 'whatever that is on the day'}"
        for source in spec.sources
    ]
    for part in spec.plan.parts if spec.plan else ():
        lines.append(f"compile  {part.name}: {' '.join(f'-D{d}' for d in part.definitions)}")
    lines += [
        f"conflict {c.about}: {' against '.join(c.values)}; {c.chosen} is used: {c.reason}"
        for c in spec.conflicts
    ]
    lines += [
        "",
        *(["would write:", f"  {shown(spec.folder)}"] if spec.unverified else []),
        "would run:",
        "  " + " ".join(argv),
        f"  pytest tests/image --image IMAGE_ID --row {spec.row}"
        + (f" --recipe {shown(spec.folder)}" if spec.unverified else ""),
        *(f"  docker tag IMAGE_ID {tag}" for tag in tags),
    ]
    return lines
