"""A comparison as a page with one chart: each framework's median and the quartiles around it."""

from __future__ import annotations

import html

import numpy as np

from tophub_registry.bench.comparison import Comparison
from tophub_registry.errors import MissingExtra


def check_charts() -> None:
    """Raise MissingExtra where plotly, which draws the chart, is not installed."""
    try:
        import plotly  # noqa: F401  # only asked whether it is there
    except ImportError as error:
        raise MissingExtra("report", error) from error


def render(comparison: Comparison) -> str:
    """Return a page that works without a network.

    Raises
    ------
    MissingExtra
        plotly is not installed.
    """
    check_charts()
    from plotly import graph_objects

    said = f"{comparison.model}, {comparison.target}, {comparison.device}"
    rows = [row for row in comparison.rows if row.times]
    medians = [row.median * 1e3 for row in rows]
    quartiles = [np.percentile(row.times, [25, 75]) * 1e3 for row in rows]
    figure = graph_objects.Figure(
        graph_objects.Bar(
            x=[row.framework for row in rows],
            y=medians,
            text=[f"{median:.2f} ms" for median in medians],
            error_y={
                "array": [high - median for (_, high), median in zip(quartiles, medians, strict=True)],
                "arrayminus": [median - low for (low, _), median in zip(quartiles, medians, strict=True)],
            },
        ),
        {
            "title": f"{said}, threads: {comparison.threads}",
            "yaxis": {"title": "ms a run", "rangemode": "tozero"},
            "template": "plotly_white",
        },
    )
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page.replace("<head>", f"<head><title>{html.escape(said)}</title>", 1)
