"""The report of a tuning history: one HTML page that holds all it needs and asks the network for nothing.

Tables are plain HTML; the charts are drawn by Plotly, whose script stands in the page, when they come into view.
What comes from a log is anybody's text: it is escaped wherever it stands, and a content security policy lets no
script run but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Sequence
from importlib import resources
from typing import NamedTuple

from tophub_registry import spelling
from tophub_registry._version import __version__
from tophub_registry.errors import MissingExtra
from tophub_registry.records.record import Value
from tophub_registry.report.history import History, KnobHistory, TaskHistory, device
from tophub_registry.report.points import points, rate_of, unit
from tophub_registry.report.spelling import escaped, shortened

MAX_POINTS = 30_000
"""How many points a page has at most, about; of more, every n-th is drawn, and each that was the best so far."""

_FEW_TASKS = 8
"""With no more tasks than these, what was tried is unfolded."""

_OPTIONS = 8


class _Column(NamedTuple):
    """A column of the summary: its name, what stands in it, and the number it is sorted by."""

    name: str
    text: Callable[[TaskHistory], str]
    key: Callable[[TaskHistory], float | None] | None = None


def render(history: History, names: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    names
        What the logs are called.

    Raises
    ------
    MissingExtra
        Plotly is not installed.
    """
    scripts = [_plotly(), _resource("page.js")]
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(f"'sha256-{_digest(script)}'" for script in scripts),
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
        ]
    )
    step = math.ceil(len(history.records) / MAX_POINTS)
    data = json.dumps([points(task, step) for task in history.tasks], separators=(",", ":"), allow_nan=False)
    sections = (_section(number, task, history, step) for number, task in enumerate(history.tasks, 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tuning report: {escaped(", ".join(names))}</title>
<style>
{_resource("page.css")}</style>
</head>
<body>
<header>
<h1>Tuning report</h1>
<p>{escaped(", ".join([*history.targets, *history.devices]))}</p>
<p class="muted">{escaped(", ".join(names))}</p>
{_figures(history)}
</header>
<noscript><p class="bad">The charts need JavaScript.</p></noscript>
<h2 id="summary">Tasks</h2>
{_summary(history)}
<h2>Task by task</h2>
{"".join(sections)}
<footer>{_footer(history)}</footer>
<script type="application/json" id="data">{_inside_script(data)}</script>
<script>{scripts[0]}</script>
<script>{scripts[1]}</script>
</body>
</html>
"""


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtra("report", error) from error
    # A browser reads every line break as one character before it compares the script with its digest.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def _resource(name: str) -> str:
    return resources.files("tophub_registry.report").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inside_script(data: str) -> str:
    """Spell JSON so that nothing in it can end the element that it stands in."""
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _figures(history: History) -> str:
    trials, failed = len(history.records), sum(task.failed for task in history.tasks)
    times = [task.seconds for task in history.tasks if task.seconds is not None]
    spent = math.fsum(times) if len(times) == len(history.tasks) else None
    gains = [task.gain for task in history.tasks if task.gain is not None]
    span = history.span
    peaks = sorted({task.peak_gflops for task in history.tasks if task.peak_gflops is not None})
    figures = [
        ("tasks", str(len(history.tasks))),
        ("trials", f"{trials:,}" + (f" <small>{failed:,} failed</small>" if failed else "")),
        ("time of tuning", spelling.duration(spent)),
        ("measured", "" if span is None else spelling.days(*span)),
        (
            "gain over default",
            f"{statistics.geometric_mean(gains):.2f}x <small>geometric mean</small>" if gains else "",
        ),
        ("measured peak", ", ".join(f"{spelling.number(peak)} GFLOPS" for peak in peaks)),
    ]
    shown = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures if value)
    return f'<dl class="figures">{"".join(shown)}</dl>'


def _summary(history: History) -> str:
    columns = _columns(history)
    head = "".join(f"<th{_class(column)}><button type=button>{column.name}</button></th>" for column in columns)
    rows = (
        f"<tr><td class=number data-key={number}>{number}</td>"
        + "".join(_cell(column, number, task) for column in columns[1:])
        + "</tr>\n"
        for number, task in enumerate(history.tasks, 1)
    )
    return f"""<div class="wide"><table class="summary">
<thead><tr>{head}</tr></thead>
<tbody>
{"".join(rows)}</tbody></table></div>"""


def _columns(history: History) -> list[_Column]:
    """Return the columns that the logs have something to say in."""
    columns = [
        _Column("#", lambda _: "", lambda _: None),
        _Column("task", lambda task: escaped(str(task))),
        _Column("target", lambda task: escaped(str(task.target))),
        _Column("trials", lambda task: f"{len(task.trials):,}", lambda task: len(task.trials)),
        _Column("failures", _failures, lambda task: task.failed or None),
        _Column("default", lambda task: spelling.seconds(task.default), lambda task: task.default),
        _Column("best", lambda task: spelling.seconds(_cost(task)), _cost),
        _Column("gain", lambda task: "" if task.gain is None else f"{task.gain:.2f}x", lambda task: task.gain),
        _Column("GFLOPS", lambda task: spelling.number(task.gflops), lambda task: task.gflops),
        _Column("of the peak", lambda task: spelling.percent(task.share), lambda task: task.share),
        _Column("time", lambda task: spelling.duration(task.seconds), lambda task: task.seconds),
    ]
    several = len(history.targets) > 1
    return [
        column
        for column in columns
        if (column.name != "target" or several)
        and (column.key is None or column.name == "#" or any(column.key(task) is not None for task in history.tasks))
    ]


def _class(column: _Column) -> str:
    if column.name == "failures":
        return " class=failures"
    return "" if column.key is None else " class=number"


def _cell(column: _Column, number: int, task: TaskHistory) -> str:
    text = column.text(task)
    if column.name == "task":
        return f'<td><a href="#task{number}">{text}</a></td>'
    if column.key is None:
        return f"<td>{text}</td>"
    key = column.key(task)
    sort = ' data-key=""' if key is None else f" data-key={key!r}"
    if column.name == "of the peak" and key is not None:
        return f'<td class="number bar" style="--part:{min(key, 1):.0%}"{sort}>{text}</td>'
    return f"<td{_class(column)}{sort}>{text}</td>"


def _failures(task: TaskHistory) -> str:
    return "<br>".join(f"<span class=bad>{count}</span> {escaped(kind)}" for kind, count in task.failures.items())


def _cost(task: TaskHistory) -> float | None:
    return None if task.best is None else task.best.mean_cost


def _section(number: int, task: TaskHistory, history: History, step: int) -> str:
    trials = f"{len(task.trials):,} trial" + ("" if len(task.trials) == 1 else "s")
    said = [trials + (f" in a space of {task.configs:,} configs" if task.configs else "")]
    said += [f"{escaped(kind)}: {count:,}" for kind, count in task.failures.items()]
    if task.seconds is not None:
        said.append(f"{spelling.duration(task.seconds)} of tuning")
    if step > 1:
        said.append(f"one trial in {step} is drawn, and each that was the best so far")
    target = f'<p class="muted">{escaped(str(task.target))}</p>' if len(history.targets) > 1 else ""
    return f"""<section class="task" id="task{number}">
<header><h3>{number}. {escaped(str(task))}</h3><a href="#summary" class="muted">top</a></header>
{target}<p class="muted">{", ".join(said)}</p>
{_best(task)}
{_tried(number, task, unfolded=len(history.tasks) <= _FEW_TASKS) if len(task.trials) > 1 else ""}</section>
"""


def _tried(number: int, task: TaskHistory, *, unfolded: bool) -> str:
    """Return the charts of the trials, and what was tried of each knob."""
    charts = _chart(number, "trials") + (_chart(number, "time") if task.seconds else "")
    knobs = f"{len(task.knobs)} knob{'' if len(task.knobs) == 1 else 's'}"
    return f"""{_legend(task)}
<div class="charts">{charts}</div>
<details{" open" if unfolded else ""}><summary>What was tried of {knobs}</summary>
<div class="knobs">{"".join(_knob(knob, task) for knob in task.knobs)}</div></details>
"""


def _chart(number: int, over: str) -> str:
    return f'<div class="chart" data-task="{number - 1}" data-over="{over}" role="img" aria-label="Rates over {over}"></div>'  # noqa: E501


def _legend(task: TaskHistory) -> str:
    entries = [("dot", "a measured config"), ("best", "the best so far")]
    if task.failed:
        entries.append(("failed", "failed"))
    if task.default is not None:
        entries.append(("default", f"AutoTVM's default config, {spelling.seconds(task.default)}"))
    if task.peak_gflops is not None and task.flop is not None:
        entries.append(("peak", f"the device's measured peak, {spelling.number(task.peak_gflops)} GFLOPS"))
    return f'<p class="legend">{"".join(f"<span class={name}>{text}</span>" for name, text in entries)}</p>'


def _best(task: TaskHistory) -> str:
    if task.best is None:
        return '<p class="bad">No config could be measured.</p>'
    costs = task.best.result.costs
    least, most = spelling.seconds(min(costs)), spelling.seconds(max(costs))
    spread = f", {least} to {most} in {len(costs)} repeats" if len(costs) > 1 else ""
    facts = [f"{spelling.seconds(task.best.mean_cost)}{spread}"]
    if task.gflops is not None:
        facts.append(f"{spelling.number(task.gflops)} GFLOPS")
    if task.share is not None:
        facts.append(f"{spelling.percent(task.share)} of the peak")
    if task.gain is not None:
        facts.append(f"{task.gain:.2f} times as fast as the default config")
    if device(task.best):
        facts.append(escaped(device(task.best)))
    knobs = "".join(
        f"<div><dt>{escaped(knob.name)}</dt><dd class=value>{_value(knob.value)}</dd></div>"
        for knob in task.best.config.entity
    )
    head = f"<p><strong>Best config</strong> {task.best.config.index}: {', '.join(facts)}</p>"
    return f'<div class="config">{head}<dl>{knobs}</dl></div>'


def _knob(knob: KnobHistory, task: TaskHistory) -> str:
    total = "" if knob.total is None else f" of {knob.total:,}"
    shown, others = knob.options[:_OPTIONS], knob.options[_OPTIONS:]
    if len(others) == 1:  # naming it takes no more room than counting it
        shown, others = knob.options, ()
    best = rate_of(task, _cost(task))
    rows = []
    for option in shown:
        rate = rate_of(task, option.best)
        part = 0 if not rate or not best else rate / best
        failed = f'<td class="number bad">{option.failed or ""}' if task.failed else ""
        rows.append(
            f"<tr><td class=value>{_value(option.value)}<td class=number>{option.tried}{failed}"
            f"<td class=number>{spelling.number(rate_of(task, option.median))}"
            f'<td class="number bar" style="--part:{part:.0%}">{spelling.number(rate)}</tr>'
        )
    if others:
        tried = sum(option.tried for option in others)
        most = spelling.number(rate_of(task, min((o.best for o in others if o.best is not None), default=None)))
        failed = f'<td class="number bad">{sum(option.failed for option in others) or ""}' if task.failed else ""
        rows.append(
            f"<tr class=muted><td>{len(others)} others<td class=number>{tried}{failed}<td><td class=number>{most}</tr>"
        )
    return (
        f"<div class=knob><strong>{escaped(knob.name)}</strong> "
        f"<span class=muted>{len(knob.options):,}{total} options tried</span>"
        f"<table><thead><tr><th>option<th class=number>tried{'<th class=number>failed' if task.failed else ''}"
        f"<th class=number>median<th class=number>best {unit(task)}</tr></thead>{''.join(rows)}</table></div>"
    )


def _footer(history: History) -> str:
    notes = [
        "Costs are the means of a record's repeats.",
        "GFLOPS count the operations of the mathematical definition, so that winograd may exceed the peak.",
        "Time is that from one row of a log to the next, builds included; breaks of over five minutes do not count.",
    ]
    if history.repeated:
        notes.append(f"{history.repeated:,} rows stand in the logs more than once, and count once.")
    if history.unconvertible:
        notes.append(f"{history.unconvertible:,} rows of log version 0.1 could not be converted and are left out.")
    notes.append(f"Rows made by {escaped(', '.join(history.tools))}. Report by tophub-registry {__version__}.")
    return f"<p>{' '.join(notes)}</p>"


def _value(value: Value) -> str:
    return escaped(shortened(value))
