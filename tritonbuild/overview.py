"""What many rows came to: the table at the end, the same as JSON, and the failure they end with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tritonbuild.batch import Outcome
from tritonbuild.console import Console
from tritonbuild.errors import BuildError, RowsFailed, as_build_error
from tritonbuild.files import write_atomic
from tritonbuild.identifiers import BuildId
from tritonbuild.layers import Layers, count_once
from tritonbuild.spec import BuildSpec

# As much of a digest as tells images apart: "sha256:" and 12 digits.
_DIGEST = 19


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table. Sizes are bytes; what is marginal comes on top of the lines before it."""

    row: str
    result: str
    stage: str | None
    """Where a row stopped that was not built."""
    error: str | None
    exit_code: int
    seconds: float
    """From start to end, with smoke tests and waiting."""
    marginal_seconds: float
    """Without them: what the row adds to a build of those before it."""
    stages: Mapping[str, float]
    size: int | None
    marginal_size: int | None
    compressed_size: int | None
    marginal_compressed_size: int | None
    tests_passed: int | None
    tests_skipped: int | None
    tests_reused: bool
    image: str | None
    image_id: str | None
    digest: str | None
    """What a registry has it under, where it was released."""
    log: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All rows of one call, in the order they were asked for."""

    jobs: int
    seconds: float
    lines: tuple[Line, ...]

    @property
    def totals(self) -> dict[str, Any]:
        """Sums; each layer counts once, however many images have it."""
        return {
            "results": dict(Counter(line.result for line in self.lines)),
            "seconds": round(self.seconds, 1),
            "marginal_seconds": round(sum(line.marginal_seconds for line in self.lines), 1),
            "size": _sum(line.marginal_size for line in self.lines),
            "compressed_size": _sum(line.marginal_compressed_size for line in self.lines),
            "tests_passed": _sum(line.tests_passed for line in self.lines),
            "tests_skipped": _sum(line.tests_skipped for line in self.lines),
        }

    def as_json(self) -> dict[str, Any]:
        return {"jobs": self.jobs, "rows": [asdict(line) for line in self.lines], "totals": self.totals}


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def make_overview(
    outcomes: Sequence[Outcome],
    *,
    jobs: int,
    seconds: float,
    log_of: Callable[[BuildSpec], Path],
    compressed: Mapping[BuildId, Layers] | None = None,
    digests: Mapping[BuildId, str] | None = None,
) -> Overview:
    """Return the overview of a call that took ``seconds``.

    ``compressed`` holds what layers take in a registry, as far as it is known, ``digests`` what was released.
    """
    gzipped = [(compressed or {}).get(o.spec.row) for o in outcomes]
    added = count_once(o.result.layers if o.result else None for o in outcomes)
    lines = []
    for outcome, layers, size, packed in zip(outcomes, gzipped, added, count_once(gzipped), strict=True):
        result = outcome.result
        smoke = result.smoke if result else None
        error = as_build_error(outcome.error) if outcome.error else None
        line = Line(
            row=outcome.spec.name,
            result=outcome.ending,
            stage=outcome.stage or None,
            error=error.message if error else None,
            exit_code=error.exit_code if error else 0,
            seconds=round(outcome.elapsed, 1),
            marginal_seconds=round(outcome.own_seconds, 1),
            stages={stage: round(value, 1) for stage, value in outcome.seconds.items()},
            size=result.size if result else None,
            marginal_size=size,
            compressed_size=sum(layers.values()) if layers else None,
            marginal_compressed_size=packed,
            tests_passed=smoke.passed if smoke else None,
            tests_skipped=len(smoke.skipped) if smoke else None,
            tests_reused=bool(result and result.smoke_reused),
            image=result.tags[0] if result else None,
            image_id=result.image_id if result else None,
            digest=(digests or {}).get(outcome.spec.row),
            log=str(log_of(outcome.spec)),
        )
        lines.append(line)
    return Overview(jobs=jobs, seconds=seconds, lines=tuple(lines))


def keep_summary(file: Path, text: str, console: Console) -> None:
    """Leave an overview as a file; a disk that takes none does not hide what the rows came to."""
    try:
        write_atomic(file, text + "\n")
    except OSError as error:
        console.warn(f"{file} is not written: {error.strerror}")


def overview_table(overview: Overview) -> Table:
    """Return the table: a line for each row, and the totals."""
    packed = any(line.compressed_size is not None for line in overview.lines)
    sizes = ["MB", "+MB", *(["gzip MB", "+gzip MB"] if packed else [])]
    table = Table(box=None, pad_edge=False, show_footer=True)
    totals = overview.totals
    results = ", ".join(f"{count} {result}" for result, count in totals["results"].items())
    numbers = {
        "s": f"{overview.seconds:.0f}",
        "+s": f"{totals['marginal_seconds']:.1f}",
        "+MB": _megabytes(totals["size"]),
        "+gzip MB": _megabytes(totals["compressed_size"]),
    }
    table.add_column("row", footer=f"{len(overview.lines)} rows")
    table.add_column("result", footer=results)
    for title in ("s", "+s", *sizes):
        table.add_column(title, justify="right", footer=numbers.get(title, ""))
    table.add_column("tests", footer=_tests(totals["tests_passed"], totals["tests_skipped"]))
    table.add_column("image")
    released = any(line.digest for line in overview.lines)
    if released:
        table.add_column("digest")
    for line in overview.lines:
        packed_sizes = [line.compressed_size, line.marginal_compressed_size] if packed else []
        table.add_row(
            line.row,
            f"{line.result} at {line.stage}" if line.stage else line.result,
            f"{line.seconds:.1f}",
            f"{line.marginal_seconds:.1f}",
            *map(_megabytes, (line.size, line.marginal_size, *packed_sizes)),
            _tests(line.tests_passed, line.tests_skipped, reused=line.tests_reused),
            line.image or "-",
            *([(line.digest or "-")[:_DIGEST]] if released else []),
        )
    return table


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.0f}"


def _tests(passed: int | None, skipped: int | None, *, reused: bool = False) -> str:
    if passed is None:
        return "-"
    return f"{passed} passed, {skipped} skipped" + (" before" if reused else "")


def find_failure(outcomes: Sequence[Outcome], *, log: str = "build.log") -> Exception | None:
    """Return what a call ends with: the failure itself, one for several of a kind, or RowsFailed.

    ``log`` is the name of the file that each row leaves.
    """
    failed = [(o.spec.name, o.error) for o in outcomes if o.error]
    if not failed:
        return None
    if len(outcomes) == 1:
        return failed[0][1]
    errors = [as_build_error(error) for _, error in failed]
    codes = {error.exit_code for error in errors}
    kind: type[BuildError] = type(errors[0]) if len(codes) == 1 else RowsFailed
    message = f"{len(failed)} of {len(outcomes)} rows failed: {', '.join(name for name, _ in failed)}"
    return kind(message, hint=f"the same command does what is missing; each row's {log} says why")
