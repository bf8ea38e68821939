"""The page `docs/zoo.md`, from the rows that `tools/zoo.py` writes."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from .agreement import CLOSE, DISTURBANCE, RUNS
from .families import family, in_order, one_of_each
from .worker import CANT_TRANSLATE, GLUONCV, INT8, LIMIT, MXNET, OURS

Row = dict[str, Any]

_WHOSE = {
    OURS: "ours",
    LIMIT: "a limit of time or memory",
    GLUONCV: "gluoncv's",
    MXNET: "MXNet's",
    INT8: "quantised to int8, not in float32",
}
"""Whose reason it is, in the order in which they are listed."""

_WIDTH = 120

_NAMED = 4
"""How many models a line names."""

_ABOUT_FAMILIES = """\
The largest difference is that from MXNet's outputs, relative to the largest number of an output. Layers without a
template are computed by TVM as they are, and can't be tuned."""

_HOW = f"""## How outputs are compared

The weights are random, the same each time, and the input is normal noise. A model agrees with MXNet if no number of an
output differs by more than {CLOSE:g} of the largest number of that output; the tables show the largest difference.

A detector sorts boxes by score and drops those that better ones cover. With random weights many scores are equal but
for rounding, and many overlaps are near the threshold, so that another order of additions gives other boxes. So:

- Detections whose scores are equal but for rounding are compared in MXNet's order. The tables say how many had another
  place.
- If others differ, MXNet runs up to {RUNS} times more, with inputs and weights that differ by a factor of
  1 ± {DISTURBANCE:g}, which is less than what rounding amounts to in a convolution's sum. The model agrees if no more
  of its detections differ from MXNet's than MXNet's own do in one of these runs. The tables show both numbers.
- So it is with the numbers of other models that are further apart, whose largest difference must not be twice MXNet's
  own either.
- An output that is one number everywhere says little. The tables say how many there are.
- MXNet's ROIAlign ignores regions with a negative image number, as those of a feature pyramid's other levels. It
  documents that their output is zero, but on a processor MXNet 1.9 leaves there what the memory held, so that even two
  runs on the same input differ. Here MXNet computes the zeros that it documents.
"""


def page(rows: Sequence[Row], every: Iterable[str]) -> str:
    """Return the page.

    Parameters
    ----------
    rows
        One for each model that was tried, of one target.
    every
        The names of all models in the zoo.
    """
    names = in_order(every)
    known = {row["model"]: row for row in rows}
    ordered = [known[name] for name in names if name in known]
    parts = [
        "# gluoncv's model zoo",
        _introduction(ordered, names),
        _table(["models", "", ""], _counts(ordered, names), right={0}),
        "## Families",
        _ABOUT_FAMILIES,
        _table(
            ["family", "models", "tried", "compile", "agree", "largest difference", "layers without a template"],
            _families(ordered, names),
            right={1, 2, 3, 4},
        ),
    ]
    if reasons := _reasons(ordered):
        parts += ["## What is in the way", _table(["reason", "whose", "number", "models"], reasons)]
    parts += [_HOW.strip(), "## Every model that was tried"]
    parts.append(
        _table(
            ["model", "compiles", "difference from MXNet's outputs", "layers without a template", "why not"],
            [_model(row) for row in ordered],
        )
    )
    return "\n\n".join(parts) + "\n"


def said(row: Row) -> str:
    """Return what became of a model, in a few words."""
    if row.get("why"):
        return f"{row['whose']}: {row['why']}"
    return agreement(row) if "agrees" in row else "compiles"


def agreement(row: Row) -> str:
    """Return how far a model's outputs are from MXNet's, in a few words; empty if they were not compared."""
    if "agrees" not in row:
        return ""
    words = f"{float(row['difference']):.0e}"
    if row["detections"] and (row["others"] or float(row["difference"]) > CLOSE):
        words = f"{row['others']} of {row['detections']} detections"
        if row["own_others"] is not None:
            words += f", MXNet's own {row['own_others']}"
    elif row["own_difference"] is not None:
        words += f", MXNet's own {float(row['own_difference']):.0e}"
    if row["moved"]:
        words += f", {row['moved']} of {row['detections']} detections in another place"
    if row["flat"]:
        words += f", {row['flat']} outputs are one number"
    return words


def _introduction(rows: Sequence[Row], names: Sequence[str]) -> str:
    first = one_of_each(names)
    tried = {row["model"] for row in rows}
    said = f"{len(tried)} of the {len(names)} models in gluoncv's model zoo"
    if tried >= {*names}:
        said = f"All {len(names)} models in gluoncv's model zoo"
    elif tried == {*first}:
        said += ", one of each family (the others were not tried yet),"
    else:
        said += " (the others were not tried yet)"
    devices = _joined(row.get("device") for row in rows)
    processors = _joined(f"`{row['processor']}`" for row in rows if "processor" in row)
    done = "run, and compared with MXNet" if devices else "and not run, as there was no such device"
    made = f"on {_joined(row['date'] for row in rows)}, at commit {_joined(row['commit'] for row in rows)}"
    text = (
        f"{said} were read, compiled with the newest records, {done}, each with random weights and its usual "
        f"input. Made by `tools/zoo.py` {made}, {f'on {devices}, ' if devices else ''}for {processors}."
    )
    return "\n".join(textwrap.wrap(text, _WIDTH))


def _joined(values: Iterable[str | None]) -> str:
    *others, last = dict.fromkeys(filter(None, values)) or ("",)
    return f"{', '.join(others)} and {last}" if others else last


def _counts(rows: Sequence[Row], names: Sequence[str]) -> list[list[object]]:
    def count(wanted: Callable[[Row], object]) -> int:
        return sum(map(bool, map(wanted, rows)))

    lines: list[list[object]] = [
        [len(names), "in the zoo", ""],
        [len(rows), "tried", ""],
        [count(lambda row: row.get("compiled")), "compile", ""],
    ]
    if count(lambda row: "agrees" in row):
        lines.append([count(lambda row: row.get("agrees")), "compile and agree with MXNet", ""])
    for whose, words in _WHOSE.items():
        if number := count(lambda row, whose=whose: row.get("whose") == whose):  # type: ignore[misc]
            lines.append([number, "do not", f"the reason is {words}"])
    return lines


def _families(rows: Sequence[Row], names: Sequence[str]) -> list[list[object]]:
    models, tried = defaultdict(list), defaultdict(list)
    for name in names:
        models[family(name)].append(name)
    for row in rows:
        tried[family(row["model"])].append(row)
    lines: list[list[object]] = []
    for its, every in sorted(models.items()):
        found = tried[its]
        layers = sorted({sum(row["untuned"].values()) for row in found if "untuned" in row})
        compiled, agreeing = (sum(bool(row.get(key)) for row in found) for key in ("compiled", "agrees"))
        counts = [len(found), compiled, agreeing if any("agrees" in row for row in rows) else ""]
        lines.append(
            [
                its,
                len(every),
                *(counts if found else [""] * len(counts)),
                _largest(found),
                f"{layers[0]} to {layers[-1]}" if layers[1:] else "".join(map(str, layers)),
            ]
        )
    return lines


def _largest(rows: Sequence[Row]) -> str:
    """Return the largest difference of models that agree, and how many agree only as far as MXNet does with itself."""
    agreeing = [row for row in rows if row.get("agrees")]
    close = [row["difference"] for row in agreeing if row["own_difference"] is None]
    said = [f"{max(close):.0e}"] if close else []
    if apart := len(agreeing) - len(close):
        said.append(f"{apart} as far apart as MXNet's own")
    return ", ".join(said)


def _reasons(rows: Sequence[Row]) -> list[list[object]]:
    """Return the reasons with their models: operators by themselves, others without what differs between models."""
    found: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for row in rows:
        if (whose := row.get("whose")) is None:
            continue
        rank = [*_WHOSE].index(whose)
        if whose == OURS and row["why"].startswith(CANT_TRANSLATE):
            for operator in row["untranslated"]:
                found[rank, f"the operator `{operator}`", whose].append(row["model"])
        else:
            found[rank, _code(_alike(row)), whose].append(row["model"])
    ordered = sorted(found.items(), key=lambda each: (each[0][0], -len(each[1]), each[0][1]))
    return [[why, _WHOSE[whose], len(models), _named(models)] for (_, why, whose), models in ordered]


def _alike(row: Row) -> str:
    """Return a reason without the names of the model and of its parts, which have a number."""
    return re.sub(r"'\w*\d\w*'", "'…'", re.sub(rf"\b{re.escape(row['model'])}\b", "…", row["why"]))


def _model(row: Row) -> list[object]:
    untuned = [f"{count} of {row['layers']}: {operator}" for operator, count in row.get("untuned", {}).items()]
    why = f"{_WHOSE[row['whose']]}: {_code(row['why'])}" if row.get("why") else ""
    return [f"`{row['model']}`", "yes" if row.get("compiled") else "no", agreement(row), ", ".join(untuned), why]


def _named(models: Sequence[str]) -> str:
    more = f" and {len(models) - _NAMED} more" if models[_NAMED:] else ""
    return ", ".join(f"`{model}`" for model in models[:_NAMED]) + more


def _code(text: str) -> str:
    """Return a reason, which others wrote, so that Markdown changes nothing in it."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)


def _table(head: Sequence[str], lines: Iterable[Sequence[object]], right: Collection[int] = ()) -> str:
    """Return a table, with these columns of numbers on the right."""
    marks = ["---:" if number in right else "---" for number in range(len(head))]
    rows = [head, marks, *([str(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
