"""Renders a comparison as a page with one chart: each framework's median and quartiles."""

from __future__ import annotations

import numpy as np

from tophub_registry.bench.comparison import Comparison
from tophub_registry.report import html


def render(comparison: Comparison) -> str:
    """Return a page that works offline.

    Raises
    ------
    MissingExtra
        Jinja or Plotly is not installed.
    """
    html.check_installed()
    from markupsafe import Markup
    from plotly import graph_objects

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
        {"yaxis": {"title": "ms per run", "rangemode": "tozero"}, "template": "plotly_white"},
    )
    return html.render(
        "tophub_registry.bench",
        "plot.html.jinja",
        title=f"{comparison.model}, {comparison.target}, {comparison.device}, threads: {comparison.threads}",
        plotly=html.plotly(),
        chart=Markup(figure.to_html(include_plotlyjs=False, full_html=False)),  # noqa: S704  # Plotly escapes its data
    )
