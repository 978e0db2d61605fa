"""Tables of a run, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import title
from benchmarks.plan import LABELS
from benchmarks.ratios import are_paired, find_points, find_ratio, find_run


def write_report(path: Path, results: dict[str, Any], plot: bool) -> None:
    """Write the Markdown, and the plot if asked, beside the results at `path`."""
    image = None
    if plot:
        from benchmarks.plot import write_plot

        image = path.with_suffix(".svg")
        write_plot(image, results)
    text = "\n".join(_lines(results, image)) + "\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")


def _lines(results: dict[str, Any], image: Path | None) -> Iterator[str]:
    load, versions = results["load"], results["versions"]
    triton = results["targets"].get("triton", {}).get("observed", {}).get("triton")
    named = [f"{name} {version}" for name, version in versions.items()]
    yield f"# {results['name']}"
    yield ""
    yield f"{results['date']}, {title(results['machine'])}. {', '.join(named + ([f'Triton {triton}'] if triton else []))}."
    yield ""
    arguments = ", ".join(f"{name}={value}" for name, value in results["engine_args"].items())
    yield (
        f"Closed loop, {load['max_tokens']} tokens per answer, temperature 0, {_order(load)} "
        f"Engine arguments of every target: {arguments}. "
        "Figures are ratios within this run; the machine differs from day to day."
    )
    yield ""
    if image is not None:
        yield f"![Throughput and first token]({image.name})"
        yield ""
    yield from _section("Tokens per second", results, _tokens)
    yield from _against_others(results)
    yield from _section("First token, p50 / p99, ms", results, _first, streaming=True)
    yield from _section("Between tokens, p50, ms", results, _pace, streaming=True)
    yield from _section("Whole answer, p50 / p99, ms", results, _latency)
    yield from _section("Messages per answer", results, _messages)
    yield from _section("CPU-seconds of the front end per 1,000 tokens", results, _cpu)
    yield from _starts(results)
    yield from _profile(results)
    yield from _problems(results)
    for note in results.get("notes", []):
        yield ""
        yield note


def _order(load: dict[str, Any]) -> str:
    count, seconds = load.get("rounds", load.get("repetitions")), f"{load['seconds']:g} s"
    if not load.get("in_turns"):
        return f"{count} repetitions of {seconds}, medians."
    return (
        f"{count} rounds, medians. All targets are up, and in each round each has {seconds} of load, in an order "
        "that rotates; only one has load at a time. A ratio is the median of the rounds' ratios, with the "
        "smallest and the largest."
    )


@dataclass(frozen=True)
class Cell:
    """What a table shows of one target at one load."""

    run: dict[str, Any]
    raw: dict[str, Any] | None  # the raw engine's, None for itself or where it was not measured
    paired: bool

    @property
    def figures(self) -> dict[str, Any]:
        return dict(self.run["median"])

    def ratio(self, figure: str) -> str:
        found = find_ratio(self.run, self.raw, figure, self.paired) if self.raw else None
        return f" ({found})" if found else ""


def _section(
    heading: str, results: dict[str, Any], show: Callable[[Cell], str], streaming: bool = False
) -> Iterator[str]:
    rows = []
    for stream in (True,) if streaming else (False, True):
        for name in results["targets"]:
            rows.append(
                (LABELS[name][stream], [_cell(results, name, stream, p) for p in find_points(results)])
            )
    yield from _table(heading, results, [(label, [show(c) if c else "" for c in row]) for label, row in rows])


def _table(heading: str, results: dict[str, Any], rows: list[tuple[str, list[str]]]) -> Iterator[str]:
    """Yield a table with a column for each number of requests; rows without anything in them are left out."""
    points = find_points(results)
    yield f"## {heading}"
    yield ""
    yield "| concurrent | " + " | ".join(str(point) for point in points) + " |"
    yield "|---" * (len(points) + 1) + "|"
    for label, cells in rows:
        if any(cells):
            yield f"| {label} | " + " | ".join(cells) + " |"
    yield ""


def _cell(results: dict[str, Any], name: str, stream: bool, concurrency: int) -> Cell | None:
    run = find_run(results, name, stream, concurrency)
    raw = find_run(results, "engine", stream, concurrency) if name != "engine" else None
    return Cell(run, raw, are_paired(results)) if run else None


def _tokens(cell: Cell) -> str:
    return f"{cell.figures['tokens_per_second']:,.0f}{cell.ratio('tokens_per_second')}"


def _first(cell: Cell) -> str:
    p50, p99 = cell.figures.get("first_token_p50"), cell.figures.get("first_token_p99")
    if p50 is None or p99 is None:
        return ""
    return f"{p50 * 1000:,.1f} / {p99 * 1000:,.1f}{cell.ratio('first_token_p50')}"


def _pace(cell: Cell) -> str:
    pace = cell.figures.get("inter_token_p50")
    return f"{pace * 1000:,.2f}" if pace else ""


def _latency(cell: Cell) -> str:
    p50, p99 = cell.figures.get("latency_p50"), cell.figures.get("latency_p99")
    return f"{p50 * 1000:,.0f} / {p99 * 1000:,.0f}" if p50 and p99 else ""


def _messages(cell: Cell) -> str:
    return f"{cell.figures.get('messages_per_request', 0):.3g}"


def _cpu(cell: Cell) -> str:
    figures = cell.figures
    parts = {name[5:]: value for name, value in figures.items() if name.startswith("cpu: ") and value}
    split = (
        f" ({', '.join(f'{name} {value:.3f}' for name, value in parts.items())})" if len(parts) > 1 else ""
    )
    return f"{figures.get('cpu_seconds_per_1000_tokens', 0):.3f}{split}"


def _against_others(results: dict[str, Any]) -> Iterator[str]:
    """Yield how our backend compares to the other servers, where they took turns."""
    if not are_paired(results):
        return
    rows = []
    for stream in (False, True):
        for other in ("openai", "other"):
            cells = []
            for point in find_points(results):
                ours, theirs = (find_run(results, name, stream, point) for name in ("triton", other))
                ratio = (
                    find_ratio(ours, theirs, "tokens_per_second", paired=True) if ours and theirs else None
                )
                cells.append(str(ratio or ""))
            rows.append((f"{LABELS['triton'][stream]} / {LABELS[other][stream]}", cells))
    if any(any(cells) for _, cells in rows):
        yield from _table("Throughput of our backend over that of other servers", results, rows)


def _starts(results: dict[str, Any]) -> Iterator[str]:
    idle = are_paired(results)
    yield "## Start and stop"
    yield ""
    yield "| target | start to ready, s | stop, s | exit code |" + (" busy cores when idle |" if idle else "")
    yield "|---" * (5 if idle else 4) + "|"
    for name, target in results["targets"].items():
        label = LABELS[name][0].rsplit(",", 1)[0]
        # A run that was killed has not stopped its targets.
        stop = target.get("stop")
        cells = [f"{target['start_to_ready']:.1f}"]
        cells += [f"{stop['seconds']:.1f}", str(stop["exit_code"])] if stop else ["", ""]
        if idle:
            shares = [run["idle_cpu_share"] for run in target["runs"] if run["idle_cpu_share"] is not None]
            cells.append(f"{max(shares):.3f}" if shares else "")
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""


def _profile(results: dict[str, Any]) -> Iterator[str]:
    recordings = results["targets"].get("triton", {}).get("observed", {}).get("profile", {})
    names = {"cpu": "on the CPU", "gil": "holding the interpreter's lock"}
    for key, recording in recordings.items():
        if "threads" in recording:
            kind, _, process = key.partition(", ")
            yield f"## Backend's {process or 'stub'} under streaming load: share of samples {names[kind]}"
            yield ""
            for part, top in (("threads", 6), ("functions", 10), ("with callees", 0)):
                shares = list(recording[part].items())[:top]
                if shares:
                    yield f"- {part}: " + ", ".join(f"{_frame(name)} {share:.1%}" for name, share in shares)
            yield ""


def _frame(name: str) -> str:
    return name.split(": ", 1)[1] if name.startswith("thread (") and ": " in name else f"`{name}`"


def _problems(results: dict[str, Any]) -> Iterator[str]:
    if results["problems"]:
        yield "## Problems"
        yield ""
        for problem in results["problems"]:
            yield f"- {problem.splitlines()[0]}"
    else:
        yield "Every answer had exactly the tokens that were asked for."
