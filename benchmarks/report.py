"""Tables of a run, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import title
from benchmarks.plan import LABELS

Figures = dict[str, Any]


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
        f"Closed loop, {load['max_tokens']} tokens per answer, temperature 0, {load['repetitions']} repetitions of "
        f"{load['seconds']:g} s, medians. Engine arguments of every target: {arguments}. "
        "Figures are ratios within this run; the machine differs from day to day."
    )
    yield ""
    if image is not None:
        yield f"![Throughput and first token]({image.name})"
        yield ""
    yield from _section("Tokens per second", results, _tokens)
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


def _section(
    heading: str, results: dict[str, Any], show: Callable[[Figures, Figures], str], streaming: bool = False
) -> Iterator[str]:
    points = sorted({run["concurrency"] for target in results["targets"].values() for run in target["runs"]})
    yield f"## {heading}"
    yield ""
    yield "| concurrent | " + " | ".join(str(point) for point in points) + " |"
    yield "|---" * (len(points) + 1) + "|"
    for stream in (True,) if streaming else (False, True):
        raw = _figures(results, "engine", stream)
        for name in results["targets"]:
            figures = _figures(results, name, stream)
            if figures:
                cells = [show(figures[p], raw.get(p, {})) if p in figures else "" for p in points]
                yield f"| {LABELS[name][stream]} | " + " | ".join(cells) + " |"
    yield ""


def _figures(results: dict[str, Any], name: str, stream: bool) -> dict[int, Figures]:
    runs = results["targets"].get(name, {}).get("runs", [])
    return {run["concurrency"]: run["median"] for run in runs if run["stream"] == stream}


def _ratio(value: float, raw: float | None) -> str:
    return f" ({value / raw:.2f}x)" if raw and value != raw else ""


def _tokens(figures: Figures, raw: Figures) -> str:
    value = figures["tokens_per_second"]
    return f"{value:,.0f}{_ratio(value, raw.get('tokens_per_second'))}"


def _first(figures: Figures, raw: Figures) -> str:
    if figures.get("first_token_p50") is None:
        return ""
    p50, p99 = figures["first_token_p50"], figures["first_token_p99"]
    return f"{p50 * 1000:,.1f} / {p99 * 1000:,.1f}{_ratio(p50, raw.get('first_token_p50'))}"


def _pace(figures: Figures, raw: Figures) -> str:  # noqa: ARG001  (one signature for all)
    return f"{figures['inter_token_p50'] * 1000:,.2f}" if figures.get("inter_token_p50") else ""


def _latency(figures: Figures, raw: Figures) -> str:  # noqa: ARG001
    if not figures.get("latency_p50"):
        return ""
    return f"{figures['latency_p50'] * 1000:,.0f} / {figures['latency_p99'] * 1000:,.0f}"


def _messages(figures: Figures, raw: Figures) -> str:  # noqa: ARG001
    return f"{figures.get('messages_per_request', 0):.3g}"


def _cpu(figures: Figures, raw: Figures) -> str:  # noqa: ARG001
    parts = {name[5:]: value for name, value in figures.items() if name.startswith("cpu: ") and value}
    split = (
        f" ({', '.join(f'{name} {value:.3f}' for name, value in parts.items())})" if len(parts) > 1 else ""
    )
    return f"{figures.get('cpu_seconds_per_1000_tokens', 0):.3f}{split}"


def _starts(results: dict[str, Any]) -> Iterator[str]:
    yield "## Start and stop"
    yield ""
    yield "| target | start to ready, s | stop, s | exit code |"
    yield "|---|---|---|---|"
    for name, target in results["targets"].items():
        stop = target["stop"]
        label = LABELS[name][0].rsplit(",", 1)[0]
        yield f"| {label} | {target['start_to_ready']:.1f} | {stop['seconds']:.1f} | {stop['exit_code']} |"
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
