"""The report of a tuning history: a self-contained HTML page that works offline.

Tables are plain HTML. Plotly, whose script is part of the page, draws the charts when they come into view.
Logs are untrusted text: the templates escape what they print, and a content security policy allows no scripts
but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tophub_registry import spelling
from tophub_registry._version import __version__
from tophub_registry.report import html
from tophub_registry.report.history import History, KnobHistory, TaskHistory, device
from tophub_registry.report.points import points, rate_of, unit
from tophub_registry.report.spelling import shortened

MAX_POINTS = 30_000
"""The approximate maximum number of points. Of more, every n-th is drawn, and each that was the best so far."""

_PACKAGE = "tophub_registry.report"

_FEW_TASKS = 8
"""The knobs are unfolded if there are at most this many tasks."""

_OPTIONS = 8
"""How many options of a knob are listed one by one."""


class _Figure(NamedTuple):
    """A figure at the top of the page."""

    name: str
    value: str
    note: str = ""


class _Option(NamedTuple):
    """A row of a knob's table: one option, or a summary of the others. `part` is the length of its bar, 0 to 1."""

    name: str
    tried: int
    failed: int
    median: float | None
    best: float | None
    part: float = 0.0
    others: bool = False


def render(history: History, names: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    names
        The names of the logs.

    Raises
    ------
    MissingExtra
        Jinja or Plotly is not installed.
    """
    html.check_installed()
    scripts = [html.plotly(), html.text(_PACKAGE, "page.js")]
    policy = [
        "default-src 'none'",
        "script-src " + " ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
    ]
    step = math.ceil(len(history.records) / MAX_POINTS)
    return html.render(
        _PACKAGE,
        "page.html.jinja",
        policy="; ".join(policy),
        style=html.text(_PACKAGE, "page.css"),
        scripts=scripts,
        names=names,
        history=history,
        figures=_figures(history),
        columns=_columns(history),
        points=[points(task, step) for task in history.tasks],
        notes=_notes(history),
        unfolded=len(history.tasks) <= _FEW_TASKS,
        trials_of=lambda task: _trials(task, step),
        best_of=_best,
        bound_of=_bound,
        options_of=_options,
        unit_of=unit,
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _figures(history: History) -> list[_Figure]:
    trials, failed = len(history.records), sum(task.failed for task in history.tasks)
    times = [task.seconds for task in history.tasks if task.seconds is not None]
    spent = math.fsum(times) if len(times) == len(history.tasks) else None
    gains = [task.gain for task in history.tasks if task.gain is not None]
    peaks = sorted({task.peak_gflops for task in history.tasks if task.peak_gflops is not None})
    gain = f"{statistics.geometric_mean(gains):.2f}x" if gains else ""
    figures = [
        _Figure("tasks", f"{len(history.tasks):,}"),
        _Figure("trials", f"{trials:,}", f"{failed:,} failed" if failed else ""),
        _Figure("tuning time", spelling.duration(spent)),
        _Figure("measured", "" if history.span is None else spelling.days(*history.span)),
        _Figure("gain over default", gain, "geometric mean"),
        _Figure("measured peak", ", ".join(f"{spelling.number(peak)} GFLOPS" for peak in peaks)),
    ]
    return [figure for figure in figures if figure.value]


def _columns(history: History) -> dict[str, str]:
    """Return the columns for which the logs have values: the name and the CSS class of each."""

    def known(attribute: str) -> bool:
        return any(getattr(task, attribute) is not None for task in history.tasks)

    columns = [
        ("#", "number", True),
        ("task", "", True),
        ("target", "", len(history.targets) > 1),
        ("trials", "number", True),
        ("failures", "failures", any(task.failed for task in history.tasks)),
        ("default", "number", known("default")),
        ("best", "number", known("cost")),
        ("gain", "number", known("gain")),
        ("GFLOPS", "number", known("gflops")),
        ("of the peak", "number", known("share")),
        ("time", "number", known("seconds")),
    ]
    return {name: kind for name, kind, shown in columns if shown}


def _trials(task: TaskHistory, step: int) -> list[str]:
    trials = f"{len(task.trials):,} trial" + ("" if len(task.trials) == 1 else "s")
    said = [trials + (f" in a space of {task.configs:,} configs" if task.configs else "")]
    said += [f"{kind}: {count:,}" for kind, count in task.failures.items()]
    if task.seconds is not None:
        said.append(f"{spelling.duration(task.seconds)} of tuning")
    if step > 1:
        said.append(f"one trial in {step} is drawn, and each that was the best so far")
    return said


def _best(task: TaskHistory) -> list[str]:
    if task.best is None:
        return []
    costs = task.best.result.costs
    said = [spelling.seconds(task.cost)]
    if len(costs) > 1:
        said.append(f"{spelling.seconds(min(costs))} to {spelling.seconds(max(costs))} in {len(costs)} repeats")
    if task.gflops is not None:
        said.append(f"{spelling.number(task.gflops)} GFLOPS")
    if task.share is not None:
        said.append(f"{spelling.percent(task.share)} of the peak")
    if task.saving is not None and task.saving > 1:
        said.append(f"Winograd, {spelling.number(task.saving)} times fewer multiplications")
    if task.gain is not None:
        said.append(f"{task.gain:.2f} times as fast as the default config")
    if device(task.best):
        said.append(device(task.best))
    return said


def _bound(task: TaskHistory) -> str:
    peak = f"the device's measured peak, {spelling.number(task.peak_gflops)} GFLOPS"
    if task.saving is None or task.saving == 1:
        return peak
    times = spelling.number(task.saving)
    return f"{peak}, times {times}: Winograd needs {times} times fewer multiplications"


def _options(knob: KnobHistory, task: TaskHistory) -> list[_Option]:
    shown, others = knob.options[:_OPTIONS], knob.options[_OPTIONS:]
    if len(others) == 1:  # naming it takes no more room than counting it
        shown, others = knob.options, ()
    fastest = rate_of(task, task.cost)
    rows = []
    for option in shown:
        best = rate_of(task, option.best)
        part = best / fastest if best and fastest else 0.0
        name = shortened(option.value)
        rows.append(_Option(name, option.tried, option.failed, rate_of(task, option.median), best, part))
    if others:
        cost = min((option.best for option in others if option.best is not None), default=None)
        tried, failed = sum(option.tried for option in others), sum(option.failed for option in others)
        rows.append(_Option(f"{len(others)} others", tried, failed, None, rate_of(task, cost), others=True))
    return rows


def _notes(history: History) -> list[str]:
    notes = [
        "Costs are the means of a record's repeats.",
        "The default config is AutoTVM's; for templates that AutoTVM does not have, it is the template's own.",
        "GFLOPS count the operations of direct computation.",
    ]
    if any("winograd" in task.task for task in history.tasks):
        notes.append(
            "Winograd convolution needs fewer multiplications, so its GFLOPS may exceed the device's peak; its share of"
            " the peak counts only the multiplications that it needs."
        )
    notes.append("Tuning time runs from one row of a log to the next, builds included; pauses do not count.")
    if history.repeated:
        notes.append(f"{history.repeated:,} rows occur in the logs more than once and count once.")
    if history.unconvertible:
        notes.append(f"{history.unconvertible:,} rows of log version 0.1 could not be converted and are left out.")
    notes.append(f"Rows made by {', '.join(history.tools)}. Report by tophub-registry {__version__}.")
    return notes
