"""Charts as SVG for a page that brings its own colours: they are CSS variables of the page."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

import pygal
from pygal.style import Style

# pygal leaves an import hook of an older Python behind, of which every later import would be warned.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]

# Half of the axis's last label stands to the right of the axis.
_LAST_LABEL = 36
# As many as the page defines: --c1 and so on.
COLOURS = 8


def _style() -> Style:
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--ink)",
        foreground_strong="var(--ink)",
        foreground_subtle="var(--faint)",
        colors=tuple(f"var(--c{number})" for number in range(1, COLOURS + 1)),
        font_family="inherit",
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=12,
        value_font_size=12,
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        opacity="1",
        opacity_hover=".8",
    )


def _text(chart: pygal.Graph, key: str) -> str:
    svg: str = chart.render(is_unicode=True)
    # pygal dates its output and gives it a random name; the same records make the same page.
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    name = re.search(r'id="(chart-[0-9a-f-]+)"', svg)
    # A dot in an id would end it in a selector of the style.
    return svg.replace(name[1], re.sub(r"[^A-Za-z0-9-]", "-", f"chart-{key}")) if name else svg


def stacked_bar(parts: Sequence[tuple[str, float]], *, key: str, unit: str) -> str:
    """Return one bar of several named parts; ``key`` tells charts of a page apart."""
    chart = pygal.HorizontalStackedBar(
        style=_style(),
        js=[],
        height=150,
        width=900,
        disable_xml_declaration=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=min(4, max(1, len(parts))),
        show_y_labels=False,
        margin=4,
        margin_right=_LAST_LABEL,
        max_scale=8,
        value_formatter=lambda value: f"{value:,.0f} {unit}",
    )
    for name, value in parts:
        chart.add(f"{name} {value:,.0f}", [{"value": value, "label": name}])
    return _text(chart, key)


def bars(values: Mapping[str, float], *, key: str, unit: str) -> str:
    """Return a bar for each name, the longest on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    chart = pygal.HorizontalBar(
        style=_style(),
        js=[],
        height=60 + 24 * len(ordered),
        width=900,
        disable_xml_declaration=True,
        show_legend=False,
        margin=4,
        margin_right=_LAST_LABEL,
        max_scale=8,
        print_values=True,
        value_formatter=lambda value: f"{value:,.0f} {unit}",
    )
    chart.x_labels = [name for name, _ in ordered]
    chart.add("", [value for _, value in ordered])
    return _text(chart, key)
